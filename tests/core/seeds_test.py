"""Random numbers: the same everywhere, and of the right distribution."""

import ctypes
import gc
import math

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.core import seeds

SEED = seeds.make_seed(3, "test")
DRAWS = {
    "normal": lambda seed: seeds.normal(seed, [20000], 0.3),
    "truncated_normal": lambda seed: seeds.truncated_normal(seed, [20000], 0.3),
    "uniform": lambda seed: seeds.uniform(seed, [20000], -1.0, 3.0),
    "integers": lambda seed: seeds.uniform(seed, [20000], 0, 55000, tf.int32),
}


@pytest.mark.parametrize("name", DRAWS)
def test_eager_graph_and_xla_draw_the_same_numbers(name):
    eager = DRAWS[name](SEED)
    graph = tf.function(DRAWS[name])(SEED)
    xla = tf.function(DRAWS[name], jit_compile=True)(SEED)
    np.testing.assert_array_equal(eager, graph)
    if name in ("uniform", "integers"):
        np.testing.assert_array_equal(eager, xla)
    else:
        # The inverse error function has other roundings there; the draws are the same.
        np.testing.assert_allclose(eager, xla, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name, mean, variance, low, high",
    [
        ("normal", 0.0, 0.09, -1.8, 1.8),
        ("truncated_normal", 0.0, 0.09 * 0.7737413, -0.6, 0.6),
        ("uniform", 1.0, 16 / 12, -1, 3),
        ("integers", 27499.5, 55000**2 / 12, 0, 54999),
    ],
)
def test_moments(name, mean, variance, low, high):
    draws = np.asarray(DRAWS[name](SEED), np.float64)
    assert abs(draws.mean() - mean) < 4 * math.sqrt(variance / draws.size)
    fourth = np.mean((draws - mean) ** 4)
    standard_error = math.sqrt((fourth - variance**2) / draws.size)
    assert abs(np.mean((draws - mean) ** 2) - variance) < 4 * standard_error
    assert low <= draws.min() and draws.max() <= high


def test_numbers_are_never_at_the_ends_of_the_interval():
    draws = seeds.uniform(SEED, [100000])
    assert 0 < draws.numpy().min() and draws.numpy().max() < 1
    assert np.isfinite(seeds.normal(SEED, [100000])).all()


def test_seeds_differ_by_purpose_run_and_index():
    made = [seeds.make_seed(r, p) for r in (0, 1) for p in ("epoch", "rule")]
    made += [seeds.fold(made[0], i) for i in range(3)] + [seeds.fold(made[0], 0, 1)]
    assert len({tuple(seed.numpy()) for seed in made}) == len(made)
    np.testing.assert_array_equal(seeds.fold(SEED, 1, 2), seeds.fold(seeds.fold(SEED, 1), 2))


def test_streams_are_those_of_earlier_runs():
    # Whoever changes one changes what all runs of the same flags give.
    assert {stream: int(value) for stream, value in seeds.Stream.__members__.items()} == {
        "OPTIMIZEE": 0,
        "RULE": 1,
        "STUDENT": 3,
        "ESTIMATOR": 4,
        "CHOICES": 5,
        "SCORING": 6,
        "PENALTY": 7,
        "LENGTHS": 8,
        "TRAJECTORY": 9,
        "MINIBATCHES": 2**20,
        "GRADIENT_NOISE": 2**20 + 1,
        "SCALES": 2**20 + 1,
        "SPARSITY": 2**20 + 2,
    }
    np.testing.assert_array_equal(
        seeds.fold(SEED, seeds.Stream.SPARSITY, 3), seeds.fold(SEED, 2**20 + 2, 3)
    )


def test_indices_that_never_come_again_take_no_memory():
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        pytest.skip("only the C library of GNU says how much memory is in use")

    class Info(ctypes.Structure):
        _fields_ = [(f"field_{i}", ctypes.c_size_t) for i in range(10)]

    libc.mallinfo2.restype = Info

    def in_use():
        gc.collect()
        return libc.mallinfo2().field_7

    def fold(first, count):
        for index in range(first, first + count):
            seeds.fold(SEED, index)

    fold(10_000, 50)
    before = in_use()
    fold(20_000, 500)
    assert (in_use() - before) / 500 < 200  # 600 where TensorFlow keeps each of them.
