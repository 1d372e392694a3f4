"""Meta-gradients through the hierarchical RNN against the legacy code's, with a plain unroll."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import loops
from l2o_tf.legacy import tf1_checkpoint
from l2o_tf.rules import hierarchical_rnn
from tests import reference
from tests.rules import scale_reference

NUM_STEPS = 10


def quadratic(w, y):
    return lambda x: 0.5 * tf.reduce_sum(tf.square(tf.matmul(w, x) - y))


def rosenbrock(x):
    return tf.square(x[0] - 1) + 100 * tf.square(x[1] - tf.square(x[0]))


def objective(case, golden):
    """The objective of one case of the reference, a function of a list of parameters."""
    golden = {k: tf.constant(v) for k, v in golden.items() if k.startswith(case)}
    if case == "quad5":
        problem = quadratic(golden["quad5|w"], golden["quad5|y"])
        return lambda params: problem(params[0])
    first = quadratic(golden["sum|w0"], golden["sum|y0"])
    third = quadratic(golden["sum|w2"], golden["sum|y2"])
    return lambda params: first(params[0]) + rosenbrock(params[1]) + third(params[2])


def log_objective(objectives, initial):
    return tf.reduce_mean(tf.math.log(objectives / (initial + 1e-6) + 1e-6))


def numerator_epsilon_objective(objectives, initial):
    return tf.reduce_mean(tf.math.log((objectives + 1e-6) / (initial + 1e-6)))


def plain_objective(objectives, initial):
    return tf.reduce_mean(objectives[1:]) / (initial + 1e-6)


def unroll(rule, loss, params, state, weights, second_derivatives):
    """Ten steps; the objectives are those before each step, the first one twice."""

    def step(carry, _):
        params, state = carry
        with tf.GradientTape() as tape:
            tape.watch(params)
            value = loss(params)
        grads = tape.gradient(value, params)
        if not second_derivatives:
            grads = [tf.stop_gradient(g) for g in grads]
        updates, state = rule.update(grads, state, params, weights)
        return ([p + u for p, u in zip(params, updates)], state), value

    scalar = tf.TensorSpec([], params[0].dtype)
    (params, state), objectives = loops.scan(step, (params, state), NUM_STEPS, scalar)
    return tf.concat([objectives[:1], objectives], axis=0), params, state


class MetaGradients:
    """The compiled unroll of one case: the objective, its gradient and where it ends."""

    def __init__(self, case, golden, second_derivatives, scale=log_objective):
        self.rule = hierarchical_rnn.HierarchicalRNN()
        self.start = scale_reference.tensors(golden, f"{case}|x0|")
        log_lr = scale_reference.log_lr(golden, f"{case}|log_lr0|")
        loss = objective(case, golden)

        def differentiate(params, initial, weights, state=None):
            with tf.GradientTape() as tape:
                tape.watch(weights)
                if state is None:
                    state = self.rule.init(params, tf.constant([0, 0]), weights)
                    state = state._replace(log_lr=log_lr)
                objectives, end, state = unroll(
                    self.rule, loss, params, state, weights, second_derivatives
                )
                value = scale(objectives, initial)
            gradient = tape.gradient(value, weights, unconnected_gradients="zero")
            return value, objectives, gradient, end, state

        self.differentiate = tf.function(differentiate)
        self.initial = loss(self.start)


def check(result, golden, prefix, rule):
    """Compares the objective, the meta-gradients and the parameters with one reference unroll."""
    value, objectives, gradient, end, _ = result
    # The meta-objective is a mean of logarithms of numbers near 1, each rounded to 6e-8.
    np.testing.assert_allclose(value, golden[f"{prefix}metaobj"], rtol=1e-5, atol=6e-8)
    np.testing.assert_allclose(objectives, golden[f"{prefix}problem_objectives"], rtol=5e-7)
    for index, param in enumerate(end):
        np.testing.assert_allclose(param, golden[f"{prefix}final_params|{index}"], rtol=5e-7)
    for ours, theirs in tf1_checkpoint.legacy_names(rule).items():
        expected = golden[f"{prefix}grad|{theirs.replace('/', '|')}"]
        # The absolute part is for the decays' gradients, 1e-10, that remain of larger terms of
        # opposite sign: recomputed in float64 they are 1e-13 away from the legacy numbers too.
        tolerance = 1e-4 * np.abs(expected).max() + 2e-13
        np.testing.assert_allclose(gradient[ours], expected, rtol=0, atol=tolerance, err_msg=ours)


@pytest.mark.parametrize("second_derivatives", [False, True])
@pytest.mark.parametrize("case", ["quad5", "sum"])
def test_two_unrolls_equal_the_legacy_meta_gradients(case, second_derivatives):
    golden = reference.arrays("golden/scale/hrnn_metagrad.npz")
    unrolled = MetaGradients(case, golden, second_derivatives)
    rule = unrolled.rule
    for kind, source in (("init", "hrnn_vars"), ("ckpt", "authors_ckpt")):
        weights = scale_reference.weights(rule, reference.arrays(f"golden/scale/{source}.npz"))
        prefix = f"{case}|{kind}|second{int(second_derivatives)}|"
        result = unrolled.differentiate(unrolled.start, unrolled.initial, weights)
        check(result, golden, f"{prefix}unroll0|", rule)
        if case == "sum":
            check_second_derivatives(result[2], golden, kind, second_derivatives)

        # A later unroll starts from given states: no gradient to the initial hidden states.
        *_, params, state = result
        weights = scale_reference.weights(rule, golden, f"{prefix}unroll0|var_after|")
        result = unrolled.differentiate(params, unrolled.initial, weights, state)
        check(result, golden, f"{prefix}unroll1|", rule)
        assert not np.any(result[2]["level0/init"])


def check_second_derivatives(gradient, golden, kind, second_derivatives):
    """Second derivatives change this gradient by 1e-3 only: the change itself is compared."""
    with_, without = (
        golden[f"sum|{kind}|second{second}|unroll0|grad|LOL|update_weights"] for second in (1, 0)
    )
    other = without if second_derivatives else with_
    difference = gradient["update/w"] - other
    expected = with_ - without if second_derivatives else without - with_
    assert scale_reference.relative_error(difference, expected) < 2e-3


@pytest.mark.parametrize(
    ("kind", "scale"), [("nolog", plain_objective), ("numeps", numerator_epsilon_objective)]
)
def test_other_meta_objectives_equal_the_legacy_gradients(kind, scale):
    golden = reference.arrays("golden/scale/hrnn_metagrad.npz")
    unrolled = MetaGradients("quad5", golden, True, scale)
    source = reference.arrays("golden/scale/hrnn_vars.npz")
    weights = scale_reference.weights(unrolled.rule, source)
    result = unrolled.differentiate(unrolled.start, unrolled.initial, weights)
    check(result, golden, f"quad5|{kind}|unroll0|", unrolled.rule)
