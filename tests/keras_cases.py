"""Ways to train a tiny Keras model with a rule, beside a plain loop with the functional rule.

Run as a program it takes the ways with two virtual devices, which a process can only have from
its start: `python -m tests.keras_cases OUT.npz`.
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
# One XLA program cannot have variables on two devices, whatever the optimizer.
MODES_ON_TWO_DEVICES = ("eager", "graph")

NUM_STEPS = 4
BATCH_SIZE = 8
LOSS_SCALE = 2.0**15


def make_rule(name: str):
    """A rule with weights that make large steps."""
    if name not in rules.learned_names():
        return rules.create(name, learning_rate=0.05)
    rule = rules.create_learned(name, seeds.make_seed(3, "rule"))
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


def make_model(policy: str = "float32") -> keras.Model:
    """A model with 38 parameters, always the same ones."""
    keras.utils.set_random_seed(11)
    keras.config.set_dtype_policy(policy)
    layers = [keras.Input([6]), keras.layers.Dense(4, "tanh"), keras.layers.Dense(2)]
    model = keras.Sequential(layers)
    keras.config.set_dtype_policy("float32")
    return model


def mean_loss(model, inputs, labels) -> tf.Tensor:
    """Cross-entropy, in float32."""
    logits = tf.cast(model(inputs, training=True), tf.float32)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


def flat(model) -> np.ndarray:
    """All parameters [38]."""
    return np.concatenate([v.numpy().ravel() for v in model.trainable_variables])


def functional(rule_name: str, policy: str) -> np.ndarray:
    """The parameters after NUM_STEPS of the rule, without an optimizer."""
    rule, model = make_rule(rule_name), make_model(policy)
    variables = model.trainable_variables
    state = rule.init([tf.convert_to_tensor(v) for v in variables])
    scale = LOSS_SCALE if policy == "mixed_float16" else 1.0
    for inputs, labels in batches():
        with tf.GradientTape() as tape:
            loss = mean_loss(model, inputs, labels) * scale
        grads = [tf.cast(g, tf.float32) / scale for g in tape.gradient(loss, variables)]
        params = [tf.convert_to_tensor(v) for v in variables]
        updates, state = rule.update(grads, state, params)
        for variable, update in zip(variables, updates):
            variable.assign_add(update)
    return flat(model)


def with_optimizer(
    rule_name: str, loop: str, mode: str, policy: str, strategy: tf.distribute.Strategy
) -> np.ndarray:
    """The parameters after NUM_STEPS of the optimizer under a strategy."""
    with strategy.scope():
        model = make_model(policy)
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
    variables = model.trainable_variables

    def step(inputs, labels):
        with tf.GradientTape() as tape:
            loss = mean_loss(model, inputs, labels) / strategy.num_replicas_in_sync
            loss = optimizer.scale_loss(loss)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))

    with strategy.scope():
        optimizer.build(variables)
    run = step if strategy.num_replicas_in_sync == 1 else lambda x, y: strategy.run(step, (x, y))
    if mode != "eager":
        run = tf.function(run, jit_compile=mode == "jit")
    dataset = tf.data.Dataset.from_tensor_slices(data()).batch(BATCH_SIZE)
    for inputs, labels in strategy.experimental_distribute_dataset(dataset):
        run(inputs, labels)


def main(path: str, *cases: str) -> None:
    """Writes the parameters that each case leads to with two devices."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert strategy.num_replicas_in_sync == 2
    np.savez(path, **{case: with_optimizer(*case.split("/"), strategy) for case in cases})


if __name__ == "__main__":
    main(*sys.argv[1:])
