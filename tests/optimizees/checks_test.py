"""Optimizees that no rule can train are refused when they are made."""

import pytest
import tensorflow as tf

from l2o_tf import optimizees
from l2o_tf.core import errors
from l2o_tf.optimizees import base, checks


class Custom(base.Optimizee):
    """Squares of given parameters, changed by a function."""

    def __init__(self, params, change=lambda loss: loss):
        self.params, self.change = params, change

    def init(self, seed):
        return self.params

    def loss(self, params, batch):
        return self.change(tf.add_n([tf.reduce_sum(p * p) for p in params]))


X = [tf.ones([3]), tf.ones([2, 0])]


def test_a_good_one():
    checks.check(Custom(X), "mine")


@pytest.mark.parametrize(
    "optimizee, message",
    [
        (Custom([]), "no parameters"),
        (Custom([tf.ones([0]), tf.ones([2, 0])]), "no parameters"),
        (Custom([tf.ones([3], tf.float64)]), "parameter 0 of mine is float64"),
        (Custom([tf.ones([3]), [1.0]]), "parameter 1 of mine is list"),
        (Custom(X, lambda loss: loss[None]), r"float32 \(1,\): it must be a float32 scalar"),
        (Custom(X, lambda loss: tf.cast(loss, tf.float64)), "is float64"),
        (Custom(X, lambda loss: tf.cast(loss, tf.int32)), "is int32"),
        (Custom(X, lambda loss: None), "is NoneType"),
        (Custom(X, lambda loss: tf.constant(1.0)), "does not depend"),
        (Custom(X, lambda loss: loss.nonsense), "cannot be trained: AttributeError"),
    ],
)
def test_bad_ones(optimizee, message):
    with pytest.raises(errors.InputError, match=message):
        checks.check(optimizee, "mine")


@pytest.mark.parametrize(
    "name, argument, message",
    [
        ("json:dumps", object(), "cannot be made: TypeError"),
        ("json:dumps", 1.5, "returns a str"),
        ("tests.optimizees.checks_test:vector", 1, "must be a float32 scalar"),
    ],
)
def test_functions_of_ones_own(name, argument, message):
    with pytest.raises(errors.InputError, match=message):
        optimizees.create(name, argument)


def vector(dataset):
    return Custom(X, lambda loss: loss[None])


def in_python(dataset):
    def change(loss):
        same = tf.numpy_function(lambda x: x, [loss], tf.float32)
        return loss + tf.stop_gradient(tf.ensure_shape(same, []))

    return Custom(X, change)


def quadratic(dataset):
    return Custom(X)


def test_xla_is_asked_about_optimizees_of_ones_own(caplog):
    assert optimizees.create("tests.optimizees.checks_test:quadratic", None).compiles
    assert not caplog.records
    assert not optimizees.create("tests.optimizees.checks_test:in_python", None).compiles
    assert "XLA cannot compile optimizee 'tests.optimizees.checks_test:in_python'" in caplog.text
