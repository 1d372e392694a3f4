"""Keras models as optimizees against Keras's own training loop and initializers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import errors, seeds
from l2o_tf.evaluation import runner
from l2o_tf.optimizees import keras_model, scaling
from l2o_tf.training import epochs, plan, unrolls
from tests import legacy_mnist, reference, small_images

SEED = seeds.make_seed(2, "test")
CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def cnn(shape=(8, 8, 1), num_classes=3):
    return keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Conv2D(4, 3, strides=2, kernel_regularizer=keras.regularizers.L2(0.1)),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Flatten(),
            keras.layers.Dense(num_classes),
        ]
    )


def noise():
    rng = np.random.default_rng(0)
    x = rng.normal(size=[20, 8, 8, 1]).astype(np.float32)
    return x, rng.integers(0, 3, 20).astype(np.int32)


@pytest.fixture(scope="module")
def small():
    """The optimizee of the small network on noise, which XLA takes long to compile."""
    return keras_model.KerasModel(cnn(), CROSS_ENTROPY, noise(), batch_size=8)


def values(variables):
    return [v.numpy() for v in variables]


def test_gradient_descent_is_that_of_keras():
    x, y = noise()
    model = cnn()
    before = values(model.variables)
    optimizee = keras_model.KerasModel(model, CROSS_ENTROPY, (x, y), batch_size=8)
    rule, num_steps = rules.from_spec("sgd:0.1"), 6
    indices = np.random.default_rng(1).integers(0, 20, [num_steps, 8]).astype(np.int32)
    params = optimizee.init(SEED)

    def batches(t):
        return keras_model.KerasBatch(*optimizee.gather(tf.constant(indices)[t]), [])

    run = tf.function(unrolls.unroll)(
        rule, optimizee, unrolls.Trajectory(params, rule.init(params)), batches, num_steps
    )
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)

    twin = cnn()
    for variable, value in zip(twin.trainable_variables, params, strict=True):
        variable.assign(value)
    twin.compile(keras.optimizers.SGD(0.1), CROSS_ENTROPY)
    losses = []
    for rows in indices:
        twin.reset_metrics()
        losses.append(twin.train_on_batch(x[rows], y[rows]))
    np.testing.assert_allclose(run.losses, losses, rtol=1e-5)
    for actual, variable in zip(run.end.params, twin.trainable_variables, strict=True):
        np.testing.assert_allclose(actual, variable, rtol=0, atol=2e-6)


def test_a_learned_rule_trains_a_keras_network_on_real_digits():
    golden = reference.arrays("golden/dm/authors_traj_dm_mnist.npz")
    rule = rules.create("dm")
    rule.assign(legacy_mnist.weights(golden, "w/"))
    optimizee = keras_model.KerasModel(
        cnn((28, 28, 1), 10), CROSS_ENTROPY, legacy_mnist.train(), batch_size=64
    )
    start = unrolls.start(optimizee, rule, SEED)
    batches = unrolls.random_batches(optimizee, SEED, 0)
    losses = tf.function(unrolls.unroll)(rule, optimizee, start, batches, 60).losses
    assert np.mean(losses[:3]) > 2 and np.mean(losses[-10:]) < 0.9


def test_xla_computes_the_same_loss_and_gradients(small):
    params, batch = small.init(SEED), small.batch(SEED, tf.constant(0))
    loss, grads = unrolls.loss_and_gradients(small, params, batch)
    xla = tf.function(unrolls.loss_and_gradients, jit_compile=True)
    xla_loss, xla_grads = xla(small, params, batch)
    np.testing.assert_allclose(xla_loss, loss, rtol=1e-6)
    for actual, expected in zip(xla_grads, grads, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


def with_layer(layer):
    return keras.Sequential(
        [keras.Input((8, 8, 1)), layer, keras.layers.Flatten(), keras.layers.Dense(3)]
    )


@pytest.mark.slow
def test_what_xla_cannot_compile_trains_and_evaluates_as_a_graph(caplog):
    model = with_layer(keras.layers.RandomRotation(0.1, seed=1))
    with caplog.at_level("WARNING"):
        optimizee = keras_model.KerasModel(model, CROSS_ENTROPY, noise(), batch_size=4)
    assert len([record for record in caplog.records if "XLA cannot" in record.message]) == 1
    assert not scaling.RandomScaling(optimizee).compiles
    # With a differentiator and without.
    for name, options in (("rnnprop", {"units": (3,)}), ("global_learning_rate", {})):
        rule = rules.create(name, **options)
        run = epochs.Epochs(rule, optimizee, rules.create("adam"), plan=plan.Plan(5))
        epoch = run.train(run.initial_state(rule.weights()), SEED, tf.constant(1))
        assert np.isfinite(epoch.losses).all() and epoch.gradient_norms.numpy()[0] > 0
    losses = runner.Runner(optimizee).run(rules.create("sgd", learning_rate=0.1), SEED, 100)
    assert losses[-10:].mean() < losses[:10].mean()


@keras.saving.register_keras_serializable(package="tests")
class PythonLayer(keras.layers.Layer):
    """Cannot be compiled, and says otherwise."""

    def call(self, x):
        doubled = tf.numpy_function(lambda a: 2 * a, [tf.stop_gradient(x)], tf.float32)
        return tf.ensure_shape(doubled, x.shape)


def test_what_xla_can_compile_is_found_out_not_believed(caplog):
    model = with_layer(PythonLayer())
    assert not keras_model.KerasModel(model, CROSS_ENTROPY, noise(), batch_size=8).compiles
    caplog.clear()
    model = with_layer(keras.layers.ReLU())
    assert keras_model.KerasModel(model, CROSS_ENTROPY, noise(), batch_size=8).compiles
    assert "XLA" not in caplog.text


def test_images_of_a_data_set_are_scaled():
    data = small_images.dataset((8, 8, 1), num_classes=3)
    optimizee = keras_model.KerasModel(cnn(), CROSS_ENTROPY, data, batch_size=8)
    x, y = optimizee.gather(tf.constant([3, 5]))
    np.testing.assert_allclose(x, data.images[[3, 5]] / 255, rtol=1e-6)
    np.testing.assert_array_equal(y, data.labels[[3, 5]])


def test_batches_are_functions_of_seed_and_step(small):
    batch = small.batch(SEED, tf.constant(4))
    np.testing.assert_array_equal(batch.x, small.batch(SEED, tf.constant(4)).x)
    assert not np.array_equal(batch.x, small.batch(SEED, tf.constant(5)).x)


def test_dropout_draws_a_mask_for_each_step():
    model = keras.Sequential(
        [keras.Input((500,)), keras.layers.Dropout(0.25), keras.layers.Dense(1, use_bias=False)]
    )
    data = np.ones([3, 500], np.float32), np.zeros([3, 1], np.float32)
    optimizee = keras_model.KerasModel(model, lambda y, outputs: outputs - y, data, batch_size=2)

    def kept(step):
        params = [tf.ones([500, 1])]
        batch = optimizee.batch(SEED, tf.constant(step))
        grad = unrolls.loss_and_gradients(optimizee, params, batch)[1][0]
        return grad.numpy()[:, 0] * 0.75

    # Each of two examples keeps a unit, with the weight 1 / 0.75, in three of four cases.
    np.testing.assert_allclose(kept(0) * 2, np.round(kept(0) * 2), atol=1e-6)
    np.testing.assert_allclose(kept(0).mean(), 0.75, atol=3 * np.sqrt(0.75 * 0.25 / 1000))
    np.testing.assert_array_equal(kept(0), kept(0))
    assert np.mean(kept(0) != kept(1)) > 0.3


def test_several_inputs_and_a_named_loss():
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    outputs = keras.layers.Dense(1, use_bias=False)(keras.layers.Concatenate()([a, b]))
    model = keras.Model({"a": a, "b": b}, outputs)
    rng = np.random.default_rng(0)
    x = {"a": rng.normal(size=[9, 3]), "b": rng.normal(size=[9, 2])}
    x = {name: array.astype(np.float32) for name, array in x.items()}
    y = rng.normal(size=[9, 1]).astype(np.float32)
    optimizee = keras_model.KerasModel(model, "mean_squared_error", (x, y), batch_size=5)
    params, batch = optimizee.init(SEED), optimizee.batch(SEED, tf.constant(0))
    predicted = np.concatenate([batch.x["a"], batch.x["b"]], axis=1) @ params[0].numpy()
    expected = np.mean((predicted - batch.y.numpy()) ** 2)
    np.testing.assert_allclose(optimizee.loss(params, batch), expected, rtol=1e-5)


INITIALIZERS = [
    "glorot_uniform",
    "glorot_normal",
    "he_normal",
    "lecun_uniform",
    keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
    keras.initializers.RandomNormal(1.0, 0.3),
    keras.initializers.TruncatedNormal(-1.0, 0.3),
    keras.initializers.RandomUniform(-1.0, 2.0),
    "orthogonal",
    "zeros",
    keras.initializers.Constant(3.0),
]


@pytest.fixture(scope="module", params=[(60, 90), (3, 5, 12, 30)])
def drawn(request):
    """The shape of a kernel, and a kernel of each initializer that one model draws."""
    kernel = request.param
    if len(kernel) == 2:
        inputs, make = keras.Input(kernel[:1]), keras.layers.Dense
        sizes = kernel[-1:]
    else:
        inputs, make = keras.Input((9, 9, kernel[2])), keras.layers.Conv2D
        sizes = kernel[-1], kernel[:2]
    layers = [make(*sizes, kernel_initializer=i, use_bias=False) for i in INITIALIZERS]
    outputs = keras.layers.Add()([layer(inputs) for layer in layers])
    data = [np.zeros([2, *x.shape[1:]], np.float32) for x in (inputs, outputs)]
    optimizee = keras_model.KerasModel(keras.Model(inputs, outputs), "mse", tuple(data))
    return kernel, [p.numpy() for p in optimizee.init(SEED)]


@pytest.mark.parametrize("index", range(len(INITIALIZERS)))
def test_initial_values_have_the_distribution_of_the_initializer(drawn, index):
    kernel, actual = drawn[0], drawn[1][index]
    expected = keras.initializers.get(INITIALIZERS[index])(kernel).numpy()
    assert actual.shape == kernel
    # Both are samples of the same size, with relative standard errors near 1 / sqrt(2 size).
    np.testing.assert_allclose(actual.std(), expected.std(), rtol=6 / np.sqrt(actual.size))
    np.testing.assert_allclose(
        actual.mean(), expected.mean(), atol=6 * expected.std() / np.sqrt(actual.size) + 1e-6
    )
    quantiles = [np.quantile(sample, [0.05, 0.25, 0.75, 0.95]) for sample in (actual, expected)]
    np.testing.assert_allclose(*quantiles, atol=6 * expected.std() / np.sqrt(actual.size) * 2)
    assert np.abs(actual - expected.mean()).max() <= 1.5 * np.abs(expected - expected.mean()).max()
    if expected.std():
        assert abs(np.corrcoef(actual.ravel(), expected.ravel())[0, 1]) < 0.06


def test_orthogonal_matrices_are_orthogonal():
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, keras.layers.LSTM(5)(inputs))
    data = np.zeros([2, 4, 3], np.float32), np.zeros([2, 5], np.float32)
    _, recurrent, bias = keras_model.KerasModel(model, "mse", data).init(SEED)
    np.testing.assert_allclose(recurrent @ tf.transpose(recurrent), np.eye(5), atol=1e-6)
    np.testing.assert_array_equal(bias, np.repeat([0.0, 1.0, 0.0, 0.0], 5))


def test_init_is_a_function_of_the_seed(small):
    model = cnn()
    params = keras_model.KerasModel(model, CROSS_ENTROPY, noise()).init(SEED)
    for init in (small.init, tf.function(small.init)):
        for a, b in zip(init(SEED), params, strict=True):
            np.testing.assert_array_equal(a, b)
    assert not np.array_equal(small.init(seeds.fold(SEED, 1))[0], params[0])
    assert not np.array_equal(model.trainable_variables[0], params[0])


def test_frozen_variables_are_no_parameters_and_keep_their_values():
    model = cnn()
    model.layers[0].trainable = False
    optimizee = keras_model.KerasModel(model, CROSS_ENTROPY, noise(), batch_size=8)
    params, batch = optimizee.init(SEED), optimizee.batch(SEED, tf.constant(0))
    assert [tuple(p.shape) for p in params] == [(4,), (4,), (36, 3), (3,)]
    before = optimizee.loss(params, batch)
    model.layers[0].kernel.assign(tf.zeros_like(model.layers[0].kernel))
    np.testing.assert_array_equal(optimizee.loss(params, batch), before)


@keras.saving.register_keras_serializable(package="l2o_tf_test")
class Odd(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None):
        return tf.ones(shape, dtype)


class Unserializable(keras.Model):
    def __init__(self, width):
        super().__init__()
        self.dense = keras.layers.Dense(width)

    def call(self, inputs):
        return self.dense(inputs)


def test_what_cannot_be_drawn_needs_an_initial_function():
    data = np.zeros([2, 3], np.float32), np.zeros([2, 1], np.float32)
    inputs = keras.Input((3,))
    odd = keras.Model(inputs, keras.layers.Dense(1, kernel_initializer=Odd())(inputs))
    with pytest.raises(errors.InputError, match="Odd is not an initializer of Keras; pass init"):
        keras_model.KerasModel(odd, "mse", data)
    unserializable = Unserializable(1)
    unserializable(data[0])
    with pytest.raises(errors.InputError, match="cannot be built from its config; pass initial="):
        keras_model.KerasModel(unserializable, "mse", data)
    trained = [tf.fill([3, 1], 2.0), tf.fill([1], 0.5)]
    optimizee = keras_model.KerasModel(unserializable, "mse", data, initial=lambda seed: trained)
    batch = optimizee.batch(SEED, tf.constant(0))
    np.testing.assert_allclose(optimizee.loss(optimizee.init(SEED), batch), 0.25)


def test_bad_arguments_are_errors():
    x, y = noise()
    with pytest.raises(errors.InputError, match="is not built; give it an Input"):
        keras_model.KerasModel(keras.Sequential([keras.layers.Dense(1)]), "mse", (x, y))
    with pytest.raises(errors.InputError, match=r"needs examples of shape \(8, 8, 1\), the data"):
        keras_model.KerasModel(cnn(), CROSS_ENTROPY, (x[:, :7], y))
    with pytest.raises(errors.InputError, match=r"the data have \[19, 20\] examples"):
        keras_model.KerasModel(cnn(), CROSS_ENTROPY, (x, y[1:]))
    with pytest.raises(errors.InputError, match=r"the data have \[0\] examples"):
        keras_model.KerasModel(cnn(), CROSS_ENTROPY, (x[:0], y[:0]))
    with pytest.raises(errors.InputError, match="unknown loss 'nonsense'"):
        keras_model.KerasModel(cnn(), "nonsense", (x, y))


def dense(*dtypes, frozen=False):
    layers = [keras.layers.Dense(3, dtype=dtype) for dtype in dtypes]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.trainable = not frozen
    return model


VECTORS = np.ones([9, 4], np.float32), np.arange(9, dtype=np.int32) % 3


@pytest.mark.parametrize("dtypes", [["float64"], ["bfloat16"] * 2, ["float64", "float32"]])
def test_variables_of_other_dtypes_are_refused(dtypes):
    with pytest.raises(errors.InputError, match=f"dtype {dtypes[0]}: rules train float32"):
        keras_model.KerasModel(dense(*dtypes), CROSS_ENTROPY, VECTORS)


def test_a_frozen_model_is_refused():
    with pytest.raises(errors.InputError, match="no trainable variables"):
        keras_model.KerasModel(dense("float32", frozen=True), CROSS_ENTROPY, VECTORS)


@pytest.mark.parametrize(
    "data, message",
    [
        (tf.data.Dataset.from_tensor_slices(VECTORS).batch(3), "are a _BatchDataset: give"),
        (VECTORS[0], "are a ndarray: give"),
        ((VECTORS[0].tolist(), VECTORS[1].tolist()), "not lists of numbers"),
        ((np.array([[1], [1, 2]], object), VECTORS[1][:2]), "are not arrays"),
        ((*VECTORS, VECTORS[1]), "are a tuple: give"),
    ],
)
def test_data_that_are_no_arrays_are_refused(data, message):
    with pytest.raises(errors.InputError, match=message):
        keras_model.KerasModel(dense("float32"), CROSS_ENTROPY, data)


def test_mixed_precision_has_a_loss_in_float32():
    optimizee = keras_model.KerasModel(dense("mixed_float16"), CROSS_ENTROPY, VECTORS)
    params, batch = optimizee.init(SEED), optimizee.batch(SEED, tf.constant(0))
    loss = optimizee.loss(params, batch)
    logits = batch.x.numpy() @ params[0].numpy() + params[1].numpy()
    chosen = np.take_along_axis(logits, batch.y.numpy()[:, None], 1)[:, 0]
    expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - chosen)
    assert loss.dtype == tf.float32
    np.testing.assert_allclose(loss, expected, rtol=2e-3)


def test_what_fails_in_the_first_step_fails_at_once():
    wrong = VECTORS[0], np.ones([9, 7], np.float32)
    with pytest.raises(errors.InputError, match="model .* cannot be trained: "):
        keras_model.KerasModel(dense("float32"), "mse", wrong)
    with pytest.raises(errors.InputError, match="does not depend on its parameters"):
        keras_model.KerasModel(dense("float32"), lambda y, outputs: y, VECTORS)
