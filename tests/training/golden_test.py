"""Trajectories, meta-gradients and imitation against the legacy code on real MNIST."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import coordinates
from l2o_tf.training import imitation, meta_loss, unrolls
from l2o_tf.training.segment import Segment
from tests import legacy_mnist, reference

UNROLL_LENGTH = 20


def assert_relative(actual, expected, tolerance):
    """Compares the L2 norm of the difference with the norm of the expected tensor."""
    difference = np.linalg.norm(np.asarray(actual) - expected)
    assert difference <= tolerance * np.linalg.norm(expected)


def assert_weights(actual, golden, prefix, tolerance):
    expected = legacy_mnist.weights(golden, prefix)
    assert actual.keys() == expected.keys()
    for name in expected:
        assert_relative(actual[name], expected[name].numpy(), tolerance)


@pytest.mark.parametrize(
    "file, rule_name, optimizee_name",
    [
        ("traj_dm_mnist", "dm", "mlp"),
        ("traj_dm_mnist_relu", "dm", "mlp_relu"),
        ("traj_rnnprop_mnist", "rnnprop", "mlp"),
        ("authors_traj_dm_mnist", "dm", "mlp"),
    ],
)
def test_200_steps_follow_the_legacy_trajectory(file, rule_name, optimizee_name):
    golden = reference.arrays(f"golden/dm/{file}.npz")
    optimizee = legacy_mnist.optimizee(optimizee_name)
    rule = rules.create(rule_name)
    rule.assign(legacy_mnist.weights(golden, "w/"))
    x0 = legacy_mnist.params(golden, "x0")

    @tf.function(jit_compile=True)
    def run():
        return unrolls.unroll(
            rule,
            optimizee,
            unrolls.Trajectory(x0, rule.init(x0)),
            legacy_mnist.batches(optimizee, golden["idx_loop"]),
            num_steps=len(golden["loss_loop"]),
            watch=unrolls.Watch(
                scoring_batches=legacy_mnist.batches(optimizee, golden["idx_final"])
            ),
        )

    result = run()
    np.testing.assert_allclose(result.losses, golden["loss_loop"], rtol=0, atol=5e-6)
    np.testing.assert_allclose(result.scores, golden["loss_recorded"], rtol=0, atol=5e-6)
    for actual, expected in zip(result.end.params, legacy_mnist.params(golden, "x_final")):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=5e-5)


@pytest.fixture(params=["dm", "rnnprop"], scope="module")
def golden_case(request):
    golden = reference.arrays(f"golden/dm/metagrad_{request.param}.npz")
    return request.param, golden


@pytest.mark.slow
@pytest.mark.parametrize("second_derivatives", [False, True])
def test_meta_gradients_of_two_unrolls(golden_case, second_derivatives):
    name, golden = golden_case
    prefix = f"sd{int(second_derivatives)}"
    optimizee = legacy_mnist.optimizee("mlp")
    rule = rules.create(name)
    weights = legacy_mnist.weights(golden, f"{prefix}/w/")
    # The recorded final losses of both unrolls are on the first of the two final batches.
    final = golden["idx_final"][:1]
    rows = [np.concatenate([part, final]) for part in np.split(golden["idx_loop"], 2)]

    @tf.function(jit_compile=True)
    def meta_gradient(trajectory, weights, indices):
        batches = lambda t: optimizee.gather(indices[t])
        segment = Segment(rule, optimizee, batches, UNROLL_LENGTH)
        return meta_loss.meta_gradient(segment, trajectory, weights, second_derivatives)

    x0 = legacy_mnist.params(golden, "x0")
    trajectory = unrolls.Trajectory(x0, rule.init(x0))
    for u in (1, 2):
        indices = tf.constant(rows[u - 1].astype(np.int32))
        result = meta_gradient(trajectory, weights, indices)
        trajectory = result.end
        np.testing.assert_allclose(result.losses, golden[f"{prefix}/u{u}_losses"], atol=5e-6)
        # The right gradient, not the one of the legacy loop's race (`*_grad_with_update`).
        assert_weights(result.gradient, golden, f"{prefix}/u{u}_grad/", 1e-4)
        if u == 1:
            expected_params = legacy_mnist.params(golden, f"{prefix}/u1_xfinal")
            for p, expected in zip(trajectory.params, expected_params, strict=True):
                np.testing.assert_allclose(p, expected, rtol=0, atol=5e-6)
            adam = rules.create("adam", learning_rate=1e-3)
            assert_weights(
                _adam_step(adam, weights, result.gradient)[0],
                golden,
                f"{prefix}/w_after_adam/",
                1e-5,
            )


def _adam_step(adam, weights, gradient, state=None):
    names = list(weights)
    values = [weights[n] for n in names]
    state = adam.init(values) if state is None else state
    updates, state = adam.update([gradient[n] for n in names], state, values)
    return {n: w + u for n, w, u in zip(names, values, updates)}, state


def _lesson(golden, row, params):
    part = slice(row * UNROLL_LENGTH, (row + 1) * UNROLL_LENGTH)
    gradients = coordinates.unflatten(tf.constant(golden["mt_inputs"][part]), params)
    labels = coordinates.unflatten(tf.constant(golden["mt_labels"][part]), params)
    return imitation.Lesson(gradients, labels, unrolls.Trajectory(params, ()))


def test_imitation_gradients_of_two_unrolls(golden_case):
    name, golden = golden_case
    rule = rules.create(name)
    weights = legacy_mnist.weights(golden, "sd0/w/")
    x0 = legacy_mnist.params(golden, "x0")
    state = rule.init(x0)
    # The rule compiles its parts, as in a training.
    gradient_of = tf.function(imitation.imitation_gradient)
    for u in (1, 2):
        losses, gradient, state = gradient_of(rule, state, _lesson(golden, u - 1, x0), weights)
        np.testing.assert_allclose(losses, golden[f"sd0/mt_u{u}_losses"], rtol=1e-5)
        np.testing.assert_allclose(tf.reduce_sum(losses), golden[f"sd0/mt_u{u}_loss"], rtol=1e-5)
        assert_weights(gradient, golden, f"sd0/mt_u{u}_grad/", 1e-4)


@pytest.mark.slow
def test_interleaved_meta_steps_with_an_adam_for_each_loss(golden_case):
    name, golden = golden_case
    rule = rules.create(name)
    optimizee = legacy_mnist.optimizee("mlp")
    weights = legacy_mnist.weights(golden, "sd0/w/")
    x0 = legacy_mnist.params(golden, "x0")
    indices = tf.constant(
        np.concatenate([golden["idx_loop"][:20], golden["idx_final"][:1]]).astype(np.int32)
    )

    @tf.function(jit_compile=True)
    def gradients(weights):
        start = unrolls.Trajectory(x0, rule.init(x0))
        batches = lambda t: optimizee.gather(indices[t])
        segment = Segment(rule, optimizee, batches, UNROLL_LENGTH)
        return meta_loss.meta_gradient(segment, start, weights).gradient

    @tf.function(jit_compile=True)
    def imitation_gradients(weights):
        lesson = _lesson(golden, 0, x0)
        return imitation.imitation_gradient(rule, rule.init(x0), lesson, weights)[1]

    adam = rules.create("adam", learning_rate=1e-3)
    normal_state = imitation_state = None
    for repeat in (2, 4):
        weights, normal_state = _adam_step(adam, weights, gradients(weights), normal_state)
        weights, imitation_state = _adam_step(
            adam, weights, imitation_gradients(weights), imitation_state
        )
        assert_weights(weights, golden, f"sd0/w_after_seq{repeat}/", 1e-5)


def test_the_adam_teacher_follows_the_legacy_trajectory():
    golden = reference.arrays("golden/dm/teacher_adam.npz")
    optimizee = legacy_mnist.optimizee("mlp")
    teacher = rules.from_spec("adam:0.01")
    x0 = legacy_mnist.params(golden, "x0")

    @tf.function(jit_compile=True)
    def teach():
        batches = legacy_mnist.batches(optimizee, golden["idx"])
        start = unrolls.Trajectory(x0, teacher.init(x0))
        return imitation.teach(teacher, optimizee, start, batches, len(golden["idx"]))

    lesson = teach()
    for recorded, name in [(lesson.gradients, "inputs"), (lesson.labels, "labels")]:
        actual = coordinates.flatten(recorded, leading=1)
        for t, expected in enumerate(golden[name]):
            assert_relative(actual[t], expected, 1e-4)
    for p, expected in zip(lesson.end.params, legacy_mnist.params(golden, "x_final")):
        np.testing.assert_allclose(p, expected, rtol=0, atol=5e-5)
