"""The distributions of random lengths."""

import math

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.core import errors, seeds
from l2o_tf.training import lengths

NUM_DRAWS = 4000


def draw(length):
    @tf.function
    def draws():
        return tf.map_fn(
            lambda i: length.draw(seeds.fold(seeds.make_seed(0, "test"), i)), tf.range(NUM_DRAWS)
        )

    return draws().numpy()


def test_a_length_is_an_exponential_number_above_its_minimum():
    drawn = draw(lengths.RandomLength(50, 20.0))
    assert drawn.min() == 50
    # round(Exp(s)) has mean exp(-1 / 2s) / (1 - exp(-1 / s)), within 1 % of s.
    mean = math.exp(-1 / 40) / (1 - math.exp(-1 / 20))
    assert abs(drawn.mean() - 50 - mean) < 4 * 20 / math.sqrt(NUM_DRAWS)
    share = np.mean(drawn > 50 + 40)
    expected = math.exp(-40.5 / 20)
    assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / NUM_DRAWS)


def test_a_maximum_cuts_the_tail():
    drawn, free = draw(lengths.RandomLength(10, 20.0, 30)), draw(lengths.RandomLength(10, 20.0))
    np.testing.assert_array_equal(drawn, np.minimum(free, 30))
    assert drawn.max() == 30 and (free > 30).any()


def test_an_epoch_has_lengths_of_its_own():
    both = lengths.RandomLengths(lengths.RandomLength(2, 3.0, 9), lengths.RandomLength(5, 10.0, 60))
    seed = seeds.make_seed(1, "test")
    count = int(both.num_unrolls(seed))
    steps = [int(both.num_steps(seed, k)) for k in range(count)]
    assert 2 <= count <= 9 and all(5 <= n <= 60 for n in steps)
    assert len(set(steps)) > 1


def test_lengths_are_read_from_numbers():
    assert lengths.parse((1.0, 40.5), "x") == lengths.RandomLength(1, 40.5)
    assert lengths.parse((10.0, 20.0, 30.0), "x") == lengths.RandomLength(10, 20.0, 30)


@pytest.mark.parametrize(
    "numbers", [(), (1.0,), (0.0, 1.0), (1.5, 1.0), (1.0, 0.0), (9.0, 1.0, 8.0)]
)
def test_wrong_numbers_are_input_errors(numbers):
    with pytest.raises(errors.InputError, match="^--what=.* must be minimum,scale or"):
        lengths.parse(numbers, "what")


def test_numbers_of_steps_are_log_uniform():
    steps = lengths.LogUniformSteps(100, 2000)

    @tf.function
    def draws():
        base = seeds.make_seed(0, "test")
        return tf.map_fn(lambda i: steps.num_unrolls(seeds.fold(base, i), 5), tf.range(NUM_DRAWS))

    drawn = 5 * draws().numpy()
    assert drawn.min() >= 100 and drawn.max() <= 2000
    logs = np.log(drawn)
    width = math.log(20)
    assert abs(logs.mean() - math.log(100) - width / 2) < 4 * width / math.sqrt(12 * NUM_DRAWS)
    for limit in (200, 500, 1000):
        # Rounding to unrolls moves a limit by half an unroll.
        expected = math.log((limit + 2.5) / 100) / width
        error = 4 * math.sqrt(expected * (1 - expected) / NUM_DRAWS)
        assert abs(np.mean(drawn <= limit) - expected) < error


def test_an_epoch_has_an_unroll_at_least():
    seed = seeds.make_seed(0, "test")
    assert int(lengths.LogUniformSteps(1, 2).num_unrolls(seed, 20)) == 1
    assert int(lengths.LogUniformSteps(60, 60).num_unrolls(seed, 20)) == 3
