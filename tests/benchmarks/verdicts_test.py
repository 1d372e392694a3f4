"""The cases that verdicts are counted on, and a count on normal noise."""

import functools

import numpy as np
import pytest

from l2o_tf.benchmarks import verdicts
from l2o_tf.evaluation.comparison import Verdict

ROWS = np.arange(6.0)[:, None] * np.ones([1, 3])


def test_every_split_into_halves_once():
    pairs = [(a[:, 0], b[:, 0]) for a, b in verdicts.halves(ROWS)]
    assert len({tuple(a) for a, _ in pairs}) == len(pairs) == 10
    for a, b in pairs:
        assert sorted([*a, *b]) == [0, 1, 2, 3, 4, 5] and a[0] == 0


def test_one_against_the_rest():
    a, b = list(verdicts.one_against_the_rest(ROWS))[2]
    assert a[:, 0].tolist() == [2] and b[:, 0].tolist() == [0, 1, 3, 4, 5]


def test_shifted_sides_have_the_variance_of_the_population():
    pairs = list(verdicts.shifted(ROWS, 7.0, 2000, np.random.default_rng(0)))
    assert np.mean([b - a for a, b in pairs[1::2]]) == pytest.approx(7.0, abs=0.1)
    assert np.mean([b - a for a, b in pairs[::2]]) == pytest.approx(-7.0, abs=0.1)
    variances = [a[:, 0].var(ddof=1) for a, _ in pairs]
    assert np.mean(variances) == pytest.approx(ROWS[:, 0].var(ddof=1), rel=0.03)


def test_noise_seldom_differs_and_a_shift_of_twice_the_tolerance_always():
    rng = np.random.default_rng(1)
    series = [rng.normal(scale=0.2, size=[10, 1]) + np.zeros([1, 5]) for _ in range(5)]
    same = verdicts.count(series, verdicts.one_against_the_rest, 0.25)
    assert sum(same.values()) == 50 and same[Verdict.DIFFER] <= 5
    shift = functools.partial(verdicts.shifted, shift=0.5, num_samples=10, rng=rng)
    assert verdicts.count(series, shift, 0.25)[Verdict.DIFFER] >= 47
