"""The loss of a Keras model as an optimizee against `Model.evaluate`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.core import seeds
from l2o_tf.optimizees import keras_model
from l2o_tf.training import unrolls

SEED = seeds.make_seed(2, "test")


def squares(y, outputs):
    return tf.square(y - outputs)


def one_number(y, outputs):
    return tf.reduce_max(tf.square(y - outputs))


# Keras gives a function both of one rank: without that, [7] and [7, 1] make [7, 7].
@pytest.mark.parametrize(
    "loss", [squares, one_number, "mse", "binary_crossentropy", keras.losses.MeanSquaredError()]
)
@pytest.mark.parametrize("y_dtype", ["float32", "float64", "int32"])
def test_a_loss_of_vectors_is_that_of_keras(loss, y_dtype):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(inputs))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=[7, 3]).astype(np.float32), rng.integers(0, 2, 7).astype(y_dtype)
    assert_is_the_loss_of_evaluate(model, loss, x, y)


@pytest.mark.parametrize("y_shape, units", [((5,), 1), ((5, 1), 1), ((5, 1), 0), ((5,), 0)])
def test_a_loss_of_sequences_is_that_of_keras(y_shape, units):
    """Outputs [7, 5, units], or [7, 5] where units is 0."""
    inputs = keras.Input((5, 3))
    outputs = keras.layers.Dense(max(units, 1))(inputs)
    model = keras.Model(inputs, outputs if units else keras.layers.Reshape([5])(outputs))
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=[7, *shape]).astype(np.float32) for shape in ((5, 3), y_shape))
    assert_is_the_loss_of_evaluate(model, squares, x, y)


@pytest.mark.parametrize("loss", ["mse", keras.losses.mean_absolute_error])
def test_masked_outputs_do_not_count(loss):
    inputs = keras.Input((5,), dtype="int32")
    embedded = keras.layers.Embedding(4, 3, mask_zero=True)(inputs)
    model = keras.Model(inputs, keras.layers.SimpleRNN(2, return_sequences=True)(embedded))
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, [7, 5]).astype(np.int32)
    assert_is_the_loss_of_evaluate(model, loss, x, rng.normal(size=[7, 5, 2]).astype(np.float32))


def test_gradients_of_embeddings_are_tensors():
    inputs = keras.Input((5,), dtype="int32")
    embedded = keras.layers.Embedding(4, 3)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(embedded)))
    x = np.array([[0, 1, 1, 1, 3], [1, 0, 0, 3, 3]], np.int32)
    optimizee = keras_model.KerasModel(model, "mse", (x, np.zeros([2, 1], np.float32)), 2)
    batch = optimizee.batch(SEED, tf.constant(0))._replace(x=tf.constant(x))
    params = [tf.constant(v.numpy()) for v in model.trainable_variables]
    loss, (grad, *_) = unrolls.loss_and_gradients(optimizee, params, batch)
    assert isinstance(grad, tf.Tensor)
    step = np.zeros([4, 3], np.float32)
    step[1, 2] = 1e-2
    ahead, behind = (
        optimizee.loss([params[0] + sign * step, *params[1:]], batch) for sign in (1, -1)
    )
    assert float(grad[1, 2]) == pytest.approx(float(ahead - behind) / 2e-2, rel=1e-3)


def assert_is_the_loss_of_evaluate(model, loss, x, y):
    optimizee = keras_model.KerasModel(model, loss, (x, y), batch_size=7)
    batch = optimizee.batch(SEED, tf.constant(0))._replace(x=tf.constant(x), y=tf.constant(y))
    model.compile(loss=loss)
    params = [tf.constant(v.numpy()) for v in model.trainable_variables]
    expected = model.evaluate(x, y, batch_size=7, verbose=0)
    np.testing.assert_allclose(optimizee.loss(params, batch), expected, rtol=1e-5)


def test_a_function_of_nests_is_given_nests():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False)(inputs))
    rng = np.random.default_rng(0)
    x = rng.normal(size=[9, 3]).astype(np.float32)
    y = {"row": np.arange(9, dtype=np.int32), "factor": np.full([9, 1], 3.0, np.float32)}
    loss = lambda y, outputs: y["factor"] * outputs + tf.gather(tf.range(9.0), y["row"])[:, None]
    optimizee = keras_model.KerasModel(model, loss, (x, y), batch_size=5)
    params, batch = optimizee.init(SEED), optimizee.batch(SEED, tf.constant(0))
    expected = np.mean(3 * (batch.x.numpy() @ params[0].numpy())[:, 0] + batch.y["row"].numpy())
    np.testing.assert_allclose(optimizee.loss(params, batch), expected, rtol=1e-5)


class TwoReplicas:
    """What Keras asks the strategy of replicas."""

    num_replicas_in_sync = 2


@pytest.mark.parametrize("loss", [squares, one_number])
def test_the_loss_of_a_function_is_not_divided_among_replicas(loss, monkeypatch):
    """The trainer takes the mean over replicas."""
    data = np.ones([4, 3], np.float32), np.zeros([4], np.float32)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, use_bias=False)])
    optimizee = keras_model.KerasModel(model, loss, data, batch_size=4)
    batch = optimizee.batch(SEED, tf.constant(0))
    params = [tf.ones([3, 1])]
    monkeypatch.setattr(tf.distribute, "get_strategy", TwoReplicas)
    np.testing.assert_allclose(optimizee.loss(params, batch), 9, rtol=1e-6)
