"""Objectives against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.core import errors
from l2o_tf.training import objectives

LOSSES = np.array([4.0, 2.0, 5.0, 1.0])
END, INITIAL = 0.5, 8.0
EPSILON = 1e-6


def total(objective, **steps):
    losses, end, initial = (tf.constant(x, tf.float64) for x in (LOSSES, END, INITIAL))
    return float(objective.total(losses, end, initial, **steps))


def log_ratio(losses):
    return np.log(losses / (INITIAL + EPSILON) + EPSILON)


def test_all_steps():
    assert total(objectives.SumOfLosses()) == pytest.approx(12.5)
    assert total(objectives.MeanOfLosses()) == pytest.approx(
        12 / 4 / (INITIAL + EPSILON), rel=1e-12
    )
    # The first point twice, the last one never.
    expected = log_ratio(np.array([4, 4, 2, 5, 1])).mean()
    assert total(objectives.MeanOfLogs()) == pytest.approx(expected, rel=1e-9)
    expected = np.log((np.array([4, 4, 2, 5, 1]) + EPSILON) / (INITIAL + EPSILON)).mean()
    assert total(objectives.MeanOfLogs(numerator_epsilon=True)) == pytest.approx(expected, rel=1e-9)


def test_a_balanced_sum_is_relative_to_the_size_of_the_first_loss():
    balanced = objectives.create("sum", balanced=True)
    assert balanced.is_relative and not objectives.SumOfLosses().is_relative
    assert total(balanced) == pytest.approx(12.5 / (INITIAL + EPSILON), rel=1e-12)
    values = [tf.constant(x, tf.float64) for x in (LOSSES, END, -INITIAL)]
    assert float(balanced.total(*values)) == pytest.approx(12.5 / (INITIAL + EPSILON), rel=1e-12)


def test_steps_that_were_not_taken_are_left_out():
    two = tf.constant(2)
    assert total(objectives.SumOfLosses(), taken=two, planned=tf.constant(3)) == pytest.approx(6.5)
    expected = 6 / 3 / (INITIAL + EPSILON)
    mean = total(objectives.MeanOfLosses(), taken=two, planned=tf.constant(3))
    assert mean == pytest.approx(expected, rel=1e-12)
    assert total(objectives.MeanOfLogs(), taken=two) == pytest.approx(
        log_ratio(np.array([4, 4, 2])).mean(), rel=1e-9
    )
    none = total(
        objectives.MeanOfLogs(), taken=tf.constant(0), first_loss=tf.constant(9.0, tf.float64)
    )
    assert none == pytest.approx(log_ratio(9.0), rel=1e-9)


def test_what_is_shown_is_the_mean_loss_or_the_objective():
    value = tf.constant(10.0)
    assert float(objectives.SumOfLosses().report(value, 4)) == 2.0
    assert float(objectives.MeanOfLogs().report(value, 4)) == 10.0
    losses = tf.constant([1.0, 3.0])
    assert float(objectives.SumOfLosses().imitation_total(losses)) == 4.0
    assert float(objectives.MeanOfLosses().imitation_total(losses)) == 2.0


@pytest.mark.parametrize(
    "initial, loss, goes_on",
    [
        (2.0, 2.5, True),
        (2.0, 3.0, False),
        (2.0, np.nan, False),
        (-2.0, -1.5, True),
        (-2.0, -1.0, False),
    ],
)
def test_an_early_stop_is_at_a_multiple_of_the_first_loss(initial, loss, goes_on):
    objective = objectives.MeanOfLogs(early_stop=1.5)
    assert bool(objective.goes_on(tf.constant(loss), tf.constant(initial))) is goes_on
    assert bool(objectives.MeanOfLogs().goes_on(tf.constant(loss), tf.constant(initial)))


def test_wrong_objectives_are_input_errors():
    with pytest.raises(errors.InputError, match="unknown objective 'max'; known: sum, mean, log"):
        objectives.create("max")
    with pytest.raises(errors.InputError, match="above 1, got 0.5"):
        objectives.MeanOfLogs(early_stop=0.5)
