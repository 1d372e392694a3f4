"""Ways to train a tiny Keras model with a rule, beside a plain loop with the functional rule.

Run as a program it takes such ways in a process of its own, with virtual devices, which a process
can only have from its start: `python -m tests.keras_cases OUT.npz NUM_DEVICES CASE...`.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

from l2o_tf import keras_optimizer, rules
from l2o_tf.core import seeds

RULES = ("dm", "rnnprop", "adam")
LOOPS = ("fit", "custom")
MODES = ("eager", "graph", "jit")
POLICIES = ("float32", "mixed_float16")
# Ways to write a model; deferred, subclassed and train_step have no variables before a step.
KINDS = ("input", "functional", "deferred", "built", "subclassed", "train_step")
# One XLA program cannot have variables on two devices, whatever the optimizer.
MODES_ON_TWO_DEVICES = ("eager", "graph")

NUM_STEPS = 4
BATCH_SIZE = 8
LOSS_SCALE = 2.0**15


def make_rule(name: str):
    """A rule with weights that make large steps."""
    if name not in rules.learned_names():
        return rules.create(name, learning_rate=0.05)
    options = {"dm": {"units": (8,)}, "rnnprop": {"units": (8,), "num_projected": 4}}
    rule = rules.create_learned(name, seeds.make_seed(3, "rule"), **options.get(name, {}))
    rule.assign({key: 2 * value for key, value in rule.weights().items()})
    return rule


def data() -> tuple[np.ndarray, np.ndarray]:
    """Inputs [32, 6] and labels [32]."""
    rng = np.random.default_rng(5)
    inputs = rng.normal(size=[NUM_STEPS * BATCH_SIZE, 6]).astype(np.float32)
    return inputs, (inputs[:, 0] > inputs[:, 1]).astype(np.int32)


def batches() -> list[tuple[tf.Tensor, tf.Tensor]]:
    """The data in order."""
    inputs, labels = data()
    return [
        (tf.constant(inputs[i : i + BATCH_SIZE]), tf.constant(labels[i : i + BATCH_SIZE]))
        for i in range(0, len(inputs), BATCH_SIZE)
    ]


class Subclassed(keras.Model):
    """Layers one after the other."""

    def __init__(self, *parts):
        super().__init__()
        self.parts = parts

    def call(self, inputs):
        for layer in self.parts:
            inputs = layer(inputs)
        return inputs


class WithTrainStep(Subclassed):
    """Trains as Keras' guides show it."""

    def train_step(self, data):
        inputs, labels = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(y=labels, y_pred=self(inputs, training=True))
            loss = self.optimizer.scale_loss(loss)
        grads = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(grads, self.trainable_variables)
        return {"loss": loss}


def make_model(policy: str = "float32", kind: str = "input") -> keras.Model:
    """A model with 38 parameters, always the same ones, written in one of the ways of KINDS."""
    keras.config.set_dtype_policy(policy)
    # Seeds of their own, because some models are built later than others.
    first, second = (keras.initializers.GlorotUniform(seed) for seed in (11, 12))
    layers = [
        keras.layers.Dense(4, "tanh", kernel_initializer=first),
        keras.layers.Dense(2, kernel_initializer=second),
    ]
    inputs = keras.Input([6])
    if kind == "functional":
        model = keras.Model(inputs, layers[1](layers[0](inputs)))
    elif kind == "subclassed":
        model = Subclassed(*layers)
    elif kind == "train_step":
        model = WithTrainStep(*layers)
    else:
        model = keras.Sequential([inputs, *layers] if kind == "input" else layers)
    if kind == "built":
        model.build([None, 6])
    keras.config.set_dtype_policy("float32")
    return model


def mean_loss(model, inputs, labels) -> tf.Tensor:
    """Cross-entropy, in float32."""
    logits = tf.cast(model(inputs, training=True), tf.float32)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


def flat(model) -> np.ndarray:
    """All parameters [38]."""
    return np.concatenate([v.numpy().ravel() for v in model.trainable_variables])


def functional(rule_name: str, policy: str, mode: str = "eager") -> np.ndarray:
    """The parameters after NUM_STEPS of the rule, without an optimizer.

    The gradients are computed in the given mode, because float16 is rounded as each compiler likes.
    """
    rule, model = make_rule(rule_name), make_model(policy)
    variables = model.trainable_variables
    state = rule.init([tf.convert_to_tensor(v) for v in variables])
    scale = LOSS_SCALE if policy == "mixed_float16" else 1.0

    def gradients(inputs, labels):
        with tf.GradientTape() as tape:
            loss = mean_loss(model, inputs, labels) * scale
        return tape.gradient(loss, variables)

    if mode != "eager":
        gradients = tf.function(gradients, jit_compile=mode == "jit")
    for inputs, labels in batches():
        grads = [tf.cast(g, tf.float32) / scale for g in gradients(inputs, labels)]
        params = [tf.convert_to_tensor(v) for v in variables]
        updates, state = rule.update(grads, state, params)
        for variable, update in zip(variables, updates):
            variable.assign_add(update)
    return flat(model)


def with_optimizer(
    rule_name: str,
    loop: str,
    mode: str,
    policy: str,
    strategy: tf.distribute.Strategy,
    kind: str = "input",
) -> np.ndarray:
    """The parameters after NUM_STEPS of the optimizer under a strategy."""
    with strategy.scope():
        model = make_model(policy, kind)
        optimizer = keras_optimizer.LearnedOptimizer(make_rule(rule_name))
        if loop == "fit":
            model.compile(
                optimizer,
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                run_eagerly=mode == "eager",
                jit_compile=mode == "jit",
            )
        elif policy == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    if loop == "fit":
        model.fit(*data(), batch_size=BATCH_SIZE, shuffle=False, verbose=0)
    else:
        _custom_loop(model, optimizer, mode, strategy)
    return flat(model)


def _custom_loop(model, optimizer, mode, strategy):
    def step(inputs, labels):
        with tf.GradientTape() as tape:
            loss = mean_loss(model, inputs, labels) / strategy.num_replicas_in_sync
            loss = optimizer.scale_loss(loss)
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))

    if model.built:
        with strategy.scope():
            optimizer.build(model.trainable_variables)
    run = step if strategy.num_replicas_in_sync == 1 else lambda x, y: strategy.run(step, (x, y))
    if mode != "eager":
        run = tf.function(run, jit_compile=mode == "jit")
    dataset = tf.data.Dataset.from_tensor_slices(data()).batch(BATCH_SIZE)
    for inputs, labels in strategy.experimental_distribute_dataset(dataset):
        run(inputs, labels)


def main(path: str, num_devices: str, *cases: str) -> None:
    """Writes the parameters that each case leads to with one device or several."""
    strategy = tf.distribute.get_strategy()
    if int(num_devices) > 1:
        (cpu,) = tf.config.list_physical_devices("CPU")
        logical = [tf.config.LogicalDeviceConfiguration()] * int(num_devices)
        tf.config.set_logical_device_configuration(cpu, logical)
        names = [f"CPU:{i}" for i in range(int(num_devices))]
        strategy = tf.distribute.MirroredStrategy(names)
    assert strategy.num_replicas_in_sync == int(num_devices)
    parameters = {}
    for case in cases:
        rule, loop, mode, policy, *kind = case.split("/")
        parameters[case] = with_optimizer(rule, loop, mode, policy, strategy, *kind)
    np.savez(path, **parameters)


if __name__ == "__main__":
    main(*sys.argv[1:])
