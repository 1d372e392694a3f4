"""What a rule costs in Keras for 10 million parameters; takes 10 GB of memory."""

from l2o_tf.benchmarks import keras_step, measuring

# L2O-DM costs what RNNprop does.
OPTIMIZERS = tuple(name for name in keras_step.OPTIMIZERS if name != "dm")
table = keras_step.table


def measure(repetitions: int, short: bool = False) -> list[measuring.Row]:
    """As `keras_step.measure`; a short check is of the smallest model."""
    models = ("16k",) if short else ("10M",)
    return keras_step.measure(repetitions, short, models, OPTIMIZERS)
