"""The authors' checkpoint of L2O-Scale: 2000 deterministic steps on their MNIST network."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import loading
from l2o_tf.core import loops
from tests import reference
from tests.rules import scale_reference

NUM_STEPS = 2000


def network_loss(params, images, labels):
    w1, b1, w2, b2 = params
    logits = tf.matmul(tf.sigmoid(tf.matmul(images, w1) + b1), w2) + b2
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


@pytest.mark.slow
def test_the_authors_checkpoint_reproduces_its_evaluation():
    golden = reference.arrays("golden/scale/authors_ckpt_eval.npz")
    mnist = reference.arrays("data/mnist.npz")
    images = tf.constant(mnist["x_test"].reshape(-1, 784).astype(np.float32) / 255)
    labels = tf.constant(mnist["y_test"].astype(np.int32))
    indices = tf.constant(golden["batch_indices"].astype(np.int32))
    rule = loading.load(reference.path("legacy/scale") / "model.ckpt-0")
    log_lr = scale_reference.log_lr(golden, "log_lr0|")

    @tf.function
    def evaluate(params):
        def step(carry, t):
            params, state = carry
            batch = [tf.gather(data, indices[t]) for data in (images, labels)]
            with tf.GradientTape() as tape:
                tape.watch(params)
                loss = network_loss(params, *batch)
            updates, state = rule.update(tape.gradient(loss, params), state, params)
            return ([p + u for p, u in zip(params, updates)], state), loss

        state = rule.init(params, tf.constant([0, 0]))._replace(log_lr=log_lr)
        (end, _), losses = loops.scan(step, (params, state), NUM_STEPS, tf.TensorSpec([]))
        return losses, end, network_loss(end, images, labels)

    start = scale_reference.tensors(golden, "x0|")
    losses, end, final = evaluate(start)
    # Noise of 1e-7 in the parameters or gradients, or float64 instead of float32, moves the
    # losses by 1e-6 at most. The rest is a race in the legacy graph: in about one step of twelve
    # it reads the second layer's weights for the first layer's gradient after they have been
    # updated. That always happening would move the losses by 4e-5, and the differences of the
    # parameters correlate to 0.9 with those it would make.
    expected = golden["B|objective_before_update"]
    np.testing.assert_allclose(losses[:200], expected[:200], rtol=0, atol=1e-6)
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(final, golden["B|full_testset_objective_final"], rtol=0, atol=1e-5)
    for index, (first, last) in enumerate(zip(start, end)):
        moved = golden[f"B|final_params|{index}"] - first
        error = last - golden[f"B|final_params|{index}"]
        assert np.linalg.norm(error) < 1e-3 * np.linalg.norm(moved)
