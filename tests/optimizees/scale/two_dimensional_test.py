import math

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.core import seeds
from l2o_tf.optimizees.scale import two_dimensional

# (function, a minimiser, the minimum): the literature's values.
MINIMA = [
    (two_dimensional.Rosenbrock, (1.0, 1.0), 0.0),
    (two_dimensional.Ackley, (0.0, 0.0), 0.0),
    (two_dimensional.Beale, (3.0, 0.5), 0.0),
    (two_dimensional.Booth, (1.0, 3.0), 0.0),
    (two_dimensional.StyblinskiTang, (-2.9035340277, -2.9035340277), 80 - 2 * 39.16616570377),
    (two_dimensional.Matyas, (0.0, 0.0), 0.0),
    (two_dimensional.Branin, (-math.pi, 12.275), 0.39788735773),
    (two_dimensional.Branin, (math.pi, 2.275), 0.39788735773),
    (two_dimensional.Branin, (3 * math.pi, 2.475), 0.39788735773),
]
BOXES = [
    (two_dimensional.Rosenbrock, (-5, -5), (10, 10)),
    (two_dimensional.Ackley, (-32.768, -32.768), (32.768, 32.768)),
    (two_dimensional.Beale, (-4.5, -4.5), (4.5, 4.5)),
    (two_dimensional.Booth, (-10, -10), (10, 10)),
    (two_dimensional.StyblinskiTang, (-5, -5), (5, 5)),
    (two_dimensional.Matyas, (-10, -10), (10, 10)),
    (two_dimensional.Branin, (-5, 0), (10, 15)),
    (two_dimensional.Michalewicz, (0, 0), (math.pi, math.pi)),
]


def value_and_gradient(problem, point):
    point = tf.constant(point, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(point)
        value = problem.loss([point], ())
    return value.numpy(), tape.gradient(value, point).numpy()


@pytest.mark.parametrize("make,point,minimum", MINIMA)
def test_known_minimum(make, point, minimum):
    value, gradient = value_and_gradient(make(), point)
    np.testing.assert_allclose(value, minimum, atol=1e-9)
    if make is not two_dimensional.Ackley:  # It has a kink there.
        np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_michalewicz_has_its_minimum_where_its_docstring_says():
    # It is a sum of a function of x and one of y: a fine grid finds both minima.
    grid = np.linspace(0, np.pi, 1_000_001)
    best = []
    for factor in (1, 2):
        ridge = np.sin(grid) * np.sin(factor * grid**2 / np.pi) ** 10
        best.append((grid[ridge.argmax()], ridge.max()))
    (x, top_x), (y, top_y) = best
    value, gradient = value_and_gradient(two_dimensional.Michalewicz(), (x, y))
    np.testing.assert_allclose([x, y, value], [2.185312, np.pi / 2, 0.193377], atol=3e-6)
    np.testing.assert_allclose(value, 2 - top_x - top_y, rtol=1e-12)
    np.testing.assert_allclose(gradient, 0, atol=1e-4)


def test_saddle_has_one_rising_and_one_falling_axis():
    value, gradient = value_and_gradient(two_dimensional.Saddle(), (3.0, 2.0))
    np.testing.assert_allclose([value, *gradient], [5, 6, -4], rtol=1e-15)


def test_log_sum_exp_does_not_overflow():
    # For large y the first exponential is all there is.
    value, gradient = value_and_gradient(two_dimensional.LogSumExp(), (1.0, 1e3))
    np.testing.assert_allclose([value, *gradient], [3000.9, 1, 3], rtol=1e-12)


@pytest.mark.parametrize("make,low,high", BOXES)
def test_starts_fill_the_box(make, low, high):
    problem = make()
    starts = [problem.init(seeds.make_seed(s, "start"))[0] for s in range(60)]
    fractions = (np.stack(starts) - low) / np.subtract(high, low)
    assert fractions.shape == (60, 2)
    assert fractions.min() >= 0 and fractions.max() <= 1
    # The chance that a tenth at one end stays empty in 60 uniform draws is 0.2 %.
    assert (fractions.min(axis=0) < 0.1).all() and (fractions.max(axis=0) > 0.9).all()


@pytest.mark.parametrize("make", [two_dimensional.Saddle, two_dimensional.LogSumExp])
def test_starts_without_a_box_are_standard_normal(make):
    starts = [make().init(seeds.make_seed(s, "start"))[0] for s in range(200)]
    np.testing.assert_allclose(np.mean(starts), 0, atol=0.2)
    np.testing.assert_allclose(np.std(starts), 1, atol=0.15)
