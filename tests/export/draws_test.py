"""The draws of many seeds at once, and of the schedule without TensorFlow: the bits of `seeds`."""

import importlib.util

import numpy as np
import pytest
import tensorflow as tf

import l2o_tf
from l2o_tf.core import loops, seeds
from l2o_tf.export import draws

SEEDS = tf.stack([seeds.fold(seeds.make_seed(s, "epoch"), 7 * s) for s in range(5)])


@pytest.fixture(scope="module")
def philox():
    path = f"{l2o_tf.__path__[0]}/export/bundled/philox.py"
    spec = importlib.util.spec_from_file_location("philox", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("function", [loops.in_graph, loops.compiled])
def test_many_seeds_give_the_bits_of_each(function):
    assert min(SEEDS[:, 0]) < 0 < max(SEEDS[:, 0])
    folded = function(draws.fold)(SEEDS, tf.range(5), 3)
    numbers = function(lambda s: draws.integers(s, 130, 55000))(SEEDS)
    normal = function(lambda s: draws.normal(s, [7, 5], 0.01))(SEEDS)
    for k, seed in enumerate(SEEDS):
        np.testing.assert_array_equal(folded[k], seeds.fold(seed, k, 3))
        expected = seeds.uniform(seed, [130], 0, 55000, tf.int32)
        np.testing.assert_array_equal(numbers[k], expected)
        np.testing.assert_allclose(normal[k], seeds.normal(seed, [7, 5], 0.01), atol=1e-8)


def test_plain_python_gives_the_same_bits(philox):
    for run_seed in (0, 1, 2**31 - 1):
        seed = seeds.make_seed(run_seed, "imitation")
        plain = philox.make_seed(run_seed, "imitation")
        np.testing.assert_array_equal(plain, seed)
        for index in (0, 5, 123456):
            folded = philox.fold(plain, index, 3)
            np.testing.assert_array_equal(folded, seeds.fold(seed, index, 3))
            assert np.float32(philox.uniform(folded)) == seeds.uniform(tf.constant(folded), [])
