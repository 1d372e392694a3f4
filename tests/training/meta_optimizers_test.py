"""Meta-optimizers against closed forms; their steps on real gradients are in scale_golden_test."""

import math

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import errors, seeds
from l2o_tf.training import epochs, meta_optimizers
from l2o_tf.training.plan import Plan
from tests.training import problems

WEIGHTS = [tf.constant([1.0, -2.0, 0.5])]


def first_step(rule, grads):
    updates, _ = rule.update([tf.constant(grads)], rule.init(WEIGHTS), WEIGHTS)
    return updates[0].numpy()


def test_rmsprop_guards_against_gradients_that_are_not_finite_or_large():
    rule = meta_optimizers.create("rmsprop", 0.01)
    updates = first_step(rule, [math.nan, 1e6, -2.0])
    square = 0.9 + 0.1 * np.array([0, 1e4, -2.0]) ** 2
    expected = -0.01 * np.array([0, 1e4, -2.0]) / np.sqrt(square)
    np.testing.assert_allclose(updates, expected, rtol=1e-6)
    np.testing.assert_array_equal(first_step(rule, [math.inf, -math.inf, 0.0]), 0)


def test_adam_is_that_of_the_analytical_rules():
    ours, adam = meta_optimizers.create("adam"), rules.from_spec("adam:0.001")
    grads = [0.1, -3.0, 0.0]
    np.testing.assert_array_equal(first_step(ours, grads), first_step(adam, grads))


def test_l2_adds_the_gradient_of_the_squared_weights():
    rule = meta_optimizers.create("rmsprop", 0.01, l2=0.25)
    plain = meta_optimizers.create("rmsprop", 0.01)
    updates = first_step(rule, [0.0, 1.0, 2.0])
    np.testing.assert_allclose(updates, first_step(plain, [0.5, 0.0, 2.25]), rtol=1e-6)


def test_adam_with_decoupled_decay_is_adamw():
    ours = meta_optimizers.create("adam", 0.01, weight_decay=0.1)
    plain = meta_optimizers.create("adam", 0.01)
    grads = [0.1, -3.0, 0.0]
    expected = first_step(plain, grads) - 0.01 * 0.1 * WEIGHTS[0].numpy()
    np.testing.assert_allclose(first_step(ours, grads), expected, rtol=1e-6)
    # Unlike the gradient of a penalty, it does not pass through Adam's denominator.
    penalised = first_step(meta_optimizers.create("adam", 0.01, l2=0.05), grads)
    assert not np.allclose(penalised, expected, rtol=1e-3)


def test_wrong_meta_optimizers_are_input_errors():
    with pytest.raises(errors.InputError, match="unknown meta-optimizer 'sgd'"):
        meta_optimizers.create("sgd")
    with pytest.raises(errors.InputError, match="learning rate must be positive"):
        meta_optimizers.create("rmsprop", -1.0)


def test_a_guarded_meta_step_is_not_skipped():
    class Cliff(problems.SmallQuadratic):
        def loss(self, params, batch):
            return super().loss(params, batch) * tf.constant(np.nan)

    rule = rules.create("global_learning_rate")
    compiled = epochs.Epochs(
        rule, Cliff(tf.float32), meta_optimizers.create("rmsprop"), plan=Plan(2)
    )
    meta = compiled.initial_state(rule.weights())
    after = compiled.train(meta, seeds.make_seed(0, "test"), tf.constant(2)).meta
    assert int(after.skipped) == 0
    np.testing.assert_allclose(after.meta_loss_optimizer, 0.81, rtol=1e-6)
    assert float(after.weights["learning_rate"]) == pytest.approx(1e-3)
