"""Sums of squares against NumPy, whatever the lengths of the axes divide by."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.core import squares


def draw(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("n, left", [(16, 2), (12, 2), (21, 3), (13, 13), (1, 1), (3, 1)])
def test_partial_sums_leave_a_fraction_of_the_axis(n, left):
    x, row, column = draw(2, n, 5), draw(2, n, 1), draw(1, 1, 5)
    sums = squares.partial_sums(*map(tf.constant, (x, row, column)), axis=-2)
    assert sums.shape == [2, left, 5]
    parts = np.square(x * row * column).reshape(2, n // left, left, 5)
    np.testing.assert_allclose(sums, parts.sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize("shape", [(), (7,), (24,), (3, 5, 8), (0, 4)])
def test_total_is_that_of_all_numbers(shape):
    x = draw(*shape)
    total = squares.total(tf.constant(x))
    assert total.shape == []
    np.testing.assert_allclose(total, np.sum(np.square(x)), rtol=1e-6)


def test_a_product_is_taken_from_left_to_right():
    huge = tf.constant(3e38)
    assert np.isinf(squares.product([huge, huge, tf.constant(0.1)]))
    assert np.isfinite(squares.product([huge, tf.constant(0.1), tf.constant(3.0)]))
