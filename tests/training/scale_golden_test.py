"""Meta-training of the hierarchical RNN against the legacy code: objectives, gradients, steps."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.legacy import tf1_checkpoint
from l2o_tf.optimizees.scale import datasets, problem
from l2o_tf.training import (
    imitation,
    meta_optimizers,
    objectives,
    regularizers,
    unrolls,
)
from tests import reference
from tests.rules import scale_reference
from tests.training.scale_unrolls import Unrolls, check, check_gradient


class Given(problem.Problem):
    """A problem with a given loss and no data."""

    def __init__(self, loss):
        self._loss = loss

    def loss(self, params, batch):
        return self._loss(params)


def quadratic(w, y):
    return lambda x: 0.5 * tf.reduce_sum(tf.square(tf.matmul(w, x) - y))


def rosenbrock(x):
    return tf.square(x[0] - 1) + 100 * tf.square(x[1] - tf.square(x[0]))


def given_problem(case, golden):
    """The problem of one case of the reference."""
    if case == "quad5":
        loss = quadratic(golden["quad5|w"], golden["quad5|y"])
        return Given(lambda params: loss(params[0]))
    if case == "early stop":
        loss = quadratic(golden["w"], golden["y"])
        return Given(lambda params: loss(params[0]))
    first = quadratic(golden["sum|w0"], golden["sum|y0"])
    third = quadratic(golden["sum|w2"], golden["sum|y2"])
    return Given(lambda params: first(params[0]) + rosenbrock(params[1]) + third(params[2]))


def step(meta_optimizer, weights, gradient, state):
    names = list(weights)
    values = [weights[name] for name in names]
    updates, state = meta_optimizer.update([gradient[name] for name in names], state, values)
    return {name: v + u for name, v, u in zip(names, values, updates)}, state


def metagrad_unrolls(case, golden, **choices):
    tensors = {k: tf.constant(v) for k, v in golden.items() if k.startswith(case)}
    return Unrolls(
        given_problem(case, tensors),
        scale_reference.tensors(golden, f"{case}|x0|"),
        scale_reference.log_lr(golden, f"{case}|log_lr0|"),
        **choices,
    )


@pytest.mark.slow
@pytest.mark.parametrize("second_derivatives", [False, True])
@pytest.mark.parametrize("case", ["quad5", "sum"])
def test_two_unrolls_and_rmsprop_steps(case, second_derivatives):
    golden = reference.arrays("golden/scale/hrnn_metagrad.npz")
    unrolled = metagrad_unrolls(
        case, golden, objective=objectives.MeanOfLogs(), second_derivatives=second_derivatives
    )
    rule, rmsprop = unrolled.rule, meta_optimizers.create("rmsprop")
    initial = unrolled.optimizee.loss(unrolled.params, ())
    for kind, source in (("init", "hrnn_vars"), ("ckpt", "authors_ckpt")):
        weights = scale_reference.weights(rule, reference.arrays(f"golden/scale/{source}.npz"))
        state = rmsprop.init(list(weights.values()))
        trajectory = unrolled.start(weights)
        for unroll in (0, 1):
            prefix = f"{case}|{kind}|second{int(second_derivatives)}|unroll{unroll}|"
            result, spread = unrolled.with_spread(trajectory, weights, initial, unroll)
            check(result, spread, golden, prefix, rule)
            if unroll == 0 and case == "sum":
                check_second_derivatives(result.gradient, golden, kind, second_derivatives)
            weights, state = step(rmsprop, weights, result.gradient, state)
            check_weights(rule, golden, prefix, weights, state)
            # No drift from one unroll to the next.
            weights = scale_reference.weights(rule, golden, f"{prefix}var_after|")
            trajectory = result.end
        assert not np.any(result.gradient["level0/init"])


def check_weights(rule, golden, prefix, weights, state):
    """The weights, to one rounding, and the mean squares after a meta-step."""
    first = 0
    for ours in weights:
        theirs = tf1_checkpoint.legacy_names(rule)[ours].replace("/", "|")
        expected = golden[f"{prefix}var_after|{theirs}"]
        # Steps are 1e-6 times a gradient: an error of 1e-4 of it is far below one rounding.
        np.testing.assert_allclose(weights[ours], expected, rtol=1.2e-7, atol=1e-12, err_msg=ours)
        mean_square = golden[f"{prefix}rms_after|{theirs}"]
        size = mean_square.size
        np.testing.assert_allclose(
            state[first : first + size], mean_square.ravel(), rtol=2e-5, err_msg=ours
        )
        first += size
    assert first == state.shape[0]


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
    ("kind", "objective"),
    [
        ("nolog", objectives.MeanOfLosses()),
        pytest.param(
            "numeps", objectives.MeanOfLogs(numerator_epsilon=True), marks=pytest.mark.slow
        ),
    ],
)
def test_other_objectives(kind, objective):
    golden = reference.arrays("golden/scale/hrnn_metagrad.npz")
    unrolled = metagrad_unrolls("quad5", golden, objective=objective, second_derivatives=True)
    source = reference.arrays("golden/scale/hrnn_vars.npz")
    weights = scale_reference.weights(unrolled.rule, source)
    initial = unrolled.optimizee.loss(unrolled.params, ())
    result, spread = unrolled.with_spread(unrolled.start(weights), weights, initial, 0)
    check(result, spread, golden, f"quad5|{kind}|unroll0|", unrolled.rule)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "multiple"), [("mult1.3", 1.3), ("mult1.3_off", None)])
def test_early_stop(case, multiple):
    golden = reference.arrays("golden/scale/hrnn_earlystop.npz")
    unrolled = Unrolls(
        given_problem("early stop", golden),
        [tf.constant(golden["x0"])],
        tf.constant(golden["log_lr0"].ravel()),
        objective=objectives.MeanOfLogs(early_stop=multiple),
    )
    source = reference.arrays("golden/scale/hrnn_vars.npz")
    weights = scale_reference.weights(unrolled.rule, source)
    initial = unrolled.optimizee.loss(unrolled.params, ())
    result, spread = unrolled.with_spread(unrolled.start(weights), weights, initial, 0)
    assert int(result.taken) == (3 if multiple else 10)
    check(result, spread, golden, f"{case}|unroll0|", unrolled.rule)


class Network(problem.DataProblem):
    """The small network on given data of the reference for imitation."""

    def loss(self, params, batch):
        w1, b1, w2, b2 = params
        logits = tf.matmul(tf.sigmoid(tf.matmul(batch.data, w1) + b1), w2) + b2
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(batch.labels, logits))


def network_unrolls(golden, **choices):
    examples = datasets.Examples(golden["data"], golden["labels"])
    params = [tf.cast(p, tf.float32) for p in scale_reference.tensors(golden, "init_tensors|")]
    return Unrolls(
        Network([p.shape for p in params], examples, batch_size=6),
        params,
        scale_reference.log_lr(golden, "log_lr0|"),
        num_steps=5,
        objective=objectives.MeanOfLogs(),
        **choices,
    )


def network_weights(rule, golden):
    return scale_reference.weights(rule, golden, "meta|")


def indices_of(golden, unroll):
    """The examples of each step's minibatch, and those on which the unroll is scored."""
    scored = golden["mini_batches"][unroll].astype(np.int32)
    return tf.constant(scored[golden["dataset_batches"][unroll]]), tf.constant(scored)


@pytest.mark.parametrize("second_derivatives", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_gradients_on_minibatches_and_scores_on_more_examples(second_derivatives):
    golden = reference.arrays("golden/scale/imitation.npz")
    unrolled = network_unrolls(golden, second_derivatives=second_derivatives)
    weights = network_weights(unrolled.rule, golden)
    trajectory = unrolled.start(weights)
    initial = golden["nomt_second0|unroll0|initial_obj"]
    for unroll in range(1 if second_derivatives else 2):
        prefix = f"nomt_second{int(second_derivatives)}|unroll{unroll}|"
        result, spread = unrolled.with_spread(
            trajectory, weights, initial, unroll, *indices_of(golden, unroll)
        )
        check(result, spread, golden, prefix, unrolled.rule)
        trajectory = result.end


def given_lesson(optimizee, start, indices, golden, unroll):
    """The legacy teacher's steps, and the gradients where it stood before each of them."""
    labels = [-label for label in scale_reference.tensors(golden, f"mt_labels|unroll{unroll}|")]
    gradients, params = [], start
    for t in range(5):
        batch = optimizee.gather(indices[t])
        gradients.append(unrolls.loss_and_gradients(optimizee, params, batch)[1])
        params = [p + label[t] for p, label in zip(params, labels)]
    stacked = [tf.stack(tensors) for tensors in zip(*gradients)]
    return imitation.Lesson(stacked, labels, unrolls.Trajectory(params, ()))


@pytest.mark.slow
def test_imitation_of_adam():
    golden = reference.arrays("golden/scale/imitation.npz")
    unrolled = network_unrolls(golden)
    rule, optimizee, start = unrolled.rule, unrolled.optimizee, unrolled.params
    weights, teacher = network_weights(rule, golden), rules.create("adam", learning_rate=0.01)
    carried = unrolled.first_state(weights)
    taught = unrolls.Trajectory(start, teacher.init(start))
    gradient_of = tf.function(imitation.imitation_gradient)
    for unroll in (0, 1):
        indices, _ = indices_of(golden, unroll)
        lesson = given_lesson(optimizee, start, indices, golden, unroll)
        ours = imitation.teach(
            teacher,
            optimizee,
            taught,
            lambda t, indices=indices: optimizee.gather(indices[t]),
            num_labels=5,
        )
        # The legacy graph sometimes reads the second layer's weights for the first layer's
        # gradient after they have been updated, which shows from the second step on.
        for index, tolerance in enumerate((1e-3, 1e-3, 3e-6, 3e-6)):
            np.testing.assert_allclose(ours.labels[index], lesson.labels[index], atol=tolerance)
        first_state = unrolled.first_state if unroll == 0 else None
        losses, gradient, carried = gradient_of(
            rule, carried, lesson, weights, objectives.MeanOfLogs(), first_state
        )
        prefix = f"mt_second0|unroll{unroll}|"
        np.testing.assert_allclose(tf.reduce_mean(losses), golden[f"{prefix}metaobjmt"], rtol=1e-5)
        check_gradient(gradient, golden, f"{prefix}grad_mt|", rule, dict.fromkeys(weights, 1e-10))
        for index, param in enumerate(lesson.end.params):
            expected = golden[f"{prefix}final_params|{index}"]
            np.testing.assert_allclose(param, expected, rtol=1e-6, atol=1e-6)
        start, taught = lesson.end.params, ours.end


def reference_probes(shapes, count):
    """What the legacy code drew: its global NumPy generator with seed 0."""
    rng = np.random.RandomState(0)
    draws = [[2 * rng.randint(0, 2, size=shape) - 1 for shape in shapes] for _ in range(count)]
    return [tf.constant(np.stack(parts), tf.float32) for parts in zip(*draws)]


def penalties(shapes):
    """Each regularizer of the reference with the legacy code's random numbers."""
    probes = reference_probes(shapes, 10)
    first = [p[0] for p in probes]
    return {
        "jacob": regularizers.mean_square_gradient,
        "hessian": lambda loss, x: regularizers.hessian_trace(loss, x, probes),
        "hessian-ev": lambda loss, x: regularizers.largest_eigenvalue(loss, x, first, 10),
        "hessian-esd": lambda loss, x: regularizers.lanczos_trace(loss, x, first, 10),
    }


@pytest.mark.parametrize(
    # Lanczos' vectors lose orthogonality to rounding; the power iteration has another start.
    ("name", "tolerance"),
    [("jacob", 1e-6), ("hessian", 1e-6), ("hessian-ev", 1e-6), ("hessian-esd", 1e-4)],
)
def test_regularizers_at_a_point(name, tolerance):
    golden = reference.arrays("golden/scale/regularizers.npz")
    params = scale_reference.tensors(golden, "params|")
    labels = np.argmax(golden["onehot"], axis=1).astype(np.int32)
    network = Network([p.shape for p in params], datasets.Examples(golden["data"], labels), 6)

    def loss(points):
        return network.loss(points, network.full_batch())

    value = penalties([p.shape for p in params])[name](loss, params)
    np.testing.assert_allclose(value, golden[f"reg|{name}"], rtol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jacob", "hessian", "hessian-esd"])
def test_regularized_meta_gradients(name):
    golden = reference.arrays("golden/scale/imitation.npz")
    regularized = reference.arrays("golden/scale/regularizers.npz")
    shapes = [regularized[f"params|{i}"].shape for i in range(4)]
    penalty_of = penalties(shapes)[name]

    def penalty(network, params, batch):
        return 1e-2 * penalty_of(lambda points: network.loss(points, batch), params)

    unrolled = network_unrolls(golden, penalty=penalty)
    weights = network_weights(unrolled.rule, golden)
    initial = golden["nomt_second0|unroll0|initial_obj"]
    result, spread = unrolled.with_spread(
        unrolled.start(weights), weights, initial, 0, *indices_of(golden, 0)
    )
    check(result, spread, regularized, f"reg_{name}_jac1|unroll0|", unrolled.rule)
