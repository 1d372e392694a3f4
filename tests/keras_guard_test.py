"""What the guard of a LearnedOptimizer does, and that it does nothing otherwise."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import l2o_tf
from l2o_tf import rules
from l2o_tf.core import errors
from l2o_tf.rules import base
from tests import keras_cases as cases


class Echo(base.UpdateRule):
    """A learned rule whose update is the gradient; its state is the sum of the gradients."""

    learned = True

    def init_tensors(self, params, seed, weights):
        return [tf.zeros_like(p) for p in params]

    def update_tensors(self, grads, state, params, weights):
        return list(grads), [s + g for s, g in zip(state, grads)]


def step(optimizer, variables, *grads, mode="eager"):
    def apply():
        optimizer.apply([tf.constant(g, tf.float32) for g in grads], variables)

    optimizer.build(variables)
    (apply if mode == "eager" else tf.function(apply, jit_compile=mode == "jit"))()
    return np.concatenate([np.ravel(v) for v in variables])


@pytest.mark.parametrize(
    "rule, mode, bad",
    [
        ("dm", "eager", np.nan),
        ("dm", "graph", np.inf),
        ("rnnprop", "jit", np.nan),
        ("adam", "eager", np.inf),
        ("adam", "graph", 1e25),
        ("adam", "jit", np.nan),
        ("echo", "eager", 1e25),
        ("echo", "jit", -np.inf),
    ],
)
def test_steps_that_are_not_finite_are_skipped_and_counted(rule, bad, mode):
    made = Echo() if rule == "echo" else cases.make_rule(rule)
    good, plain = (l2o_tf.LearnedOptimizer(made) for _ in range(2))
    variables, twins = ([keras.Variable([0.5, -1.0]), keras.Variable([[2.0]])] for _ in range(2))
    before = step(good, variables, [0.1, -0.2], [[0.3]], mode=mode)
    np.testing.assert_array_equal(step(plain, twins, [0.1, -0.2], [[0.3]], mode=mode), before)
    np.testing.assert_array_equal(step(good, variables, [0.1, bad], [[1.0]], mode=mode), before)
    assert good.skipped_steps == 1 and int(good.iterations) == 2
    after = step(good, variables, [0.2, 0.1], [[-0.3]], mode=mode)
    np.testing.assert_array_equal(step(plain, twins, [0.2, 0.1], [[-0.3]], mode=mode), after)
    assert plain.skipped_steps == 0 and np.abs(after - before).max() > 1e-5


def test_updates_that_are_not_finite_are_skipped():
    variable = keras.Variable([1.0, 2.0])
    optimizer = l2o_tf.LearnedOptimizer(Echo(), learning_rate=float("inf"))
    np.testing.assert_array_equal(step(optimizer, [variable], [1.0, 0.5]), [1, 2])
    np.testing.assert_array_equal(optimizer.variables[-1], [0, 0])  # The state.
    assert optimizer.skipped_steps == 1


def test_without_the_guard_nothing_is_skipped():
    variable = keras.Variable([1.0, 2.0])
    optimizer = l2o_tf.LearnedOptimizer(Echo(), guard=False)
    assert np.isnan(step(optimizer, [variable], [1.0, np.nan])).any()
    assert optimizer.skipped_steps == 0


def test_long_updates_of_learned_rules_become_shorter():
    # Root mean squares: 5 and 0.1 of the variables, which counts as 1.
    values = [[5.0, -5.0], [0.1, 0.1, 0.1, 0.1]]
    grads = [[3.0, 4.0], [0.1, 0.0, 0.0, 0.0]]
    for limit, factors in ((0.2, [1 / np.sqrt(12.5), 1]), (0.01, [0.05 / np.sqrt(12.5), 0.2])):
        variables = [keras.Variable(value) for value in values]
        end = step(l2o_tf.LearnedOptimizer(Echo(), max_relative_update=limit), variables, *grads)
        expected = [np.add(v, np.multiply(f, g)) for v, f, g in zip(values, factors, grads)]
        np.testing.assert_allclose(end, np.concatenate(expected), rtol=1e-6)
    for options in ({"max_relative_update": None}, {"guard": False}):
        variables = [keras.Variable(value) for value in values]
        end = step(l2o_tf.LearnedOptimizer(Echo(), **options), variables, *grads)
        np.testing.assert_allclose(end[:2], [8, -1], rtol=1e-6)
    with pytest.raises(errors.InputError, match="max_relative_update=0"):
        l2o_tf.LearnedOptimizer(Echo(), max_relative_update=0)


def test_formulas_have_no_limit():
    variable = keras.Variable([1.0])
    optimizer = l2o_tf.LearnedOptimizer(rules.create("sgd", learning_rate=10.0))
    np.testing.assert_allclose(step(optimizer, [variable], [3.0]), [-29.0])


@pytest.mark.parametrize("rate, grad", [(np.inf, 1.0), (np.nan, 1.0), (0.1, np.nan)])
def test_a_formula_rests_where_its_rate_or_gradient_is_not_finite(rate, grad):
    variable = keras.Variable([1.0])
    optimizer = l2o_tf.LearnedOptimizer("adam:0.1", learning_rate=rate)
    np.testing.assert_array_equal(step(optimizer, [variable], [grad]), [1.0])
    assert optimizer.skipped_steps == 1


def test_formulas_of_a_route_have_no_limit():
    kernel, bias = keras.Variable([[1.0]], name="kernel"), keras.Variable([0.0], name="bias")
    optimizer = l2o_tf.LearnedOptimizer(Echo(), route={"sgd:1.0": "biases"})
    np.testing.assert_allclose(step(optimizer, [kernel, bias], [[5.0]], [5.0]), [1.1, -5.0])


@pytest.mark.parametrize("rule", ["echo", "sgd:1.0"])
@pytest.mark.parametrize("mode", ["eager", "jit"])
def test_a_skipped_step_does_not_decay_weights(rule, mode):
    optimizer = l2o_tf.LearnedOptimizer(
        Echo() if rule == "echo" else rule, learning_rate=0.5, weight_decay=0.1
    )
    variables = [keras.Variable([2.0, -4.0])]
    for bad in (np.nan, np.inf):
        np.testing.assert_array_equal(step(optimizer, variables, [bad, 0.1], mode=mode), [2, -4])
    sign = 1 if rule == "echo" else -1
    # A tenth, halved by the rate, off; then the rule's update.
    expected = [0.95 * 2 + sign * 0.5 * 0.1, 0.95 * -4 + sign * 0.5 * 0.02]
    after = step(optimizer, variables, [0.1, 0.02], mode=mode)
    np.testing.assert_allclose(after, expected, rtol=1e-6)
    assert optimizer.skipped_steps == 2


@pytest.mark.slow
@pytest.mark.parametrize("rule", cases.RULES)
def test_an_ordinary_training_is_the_same_with_it(rule):
    ends = []
    for guard in (True, False):
        model = cases.make_model()
        optimizer = l2o_tf.LearnedOptimizer(cases.make_rule(rule), guard=guard)
        model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(*cases.data(), cases.BATCH_SIZE, epochs=3, shuffle=False, verbose=0)
        ends.append(cases.flat(model))
    np.testing.assert_array_equal(*ends)
