"""Initial values for a Keras model's variables as pure functions of a seed."""

import functools
import math
from collections.abc import Callable

import keras
import tensorflow as tf

from l2o_tf.core import errors, seeds

Draw = Callable[[seeds.Seed], tf.Tensor]

# The standard deviation of N(0, 1) cut at two standard deviations.
_TRUNCATED_STDDEV = 0.87962566103423978


def draws_of(model: keras.Model) -> list[Draw]:
    """Returns one function for each trainable variable, from a seed [2] to an initial value.

    Values have the distributions of the variables' initializers. Those are not called, because
    their numbers come from seeds of their own. A callable that is not a
    `keras.initializers.Initializer`, such as the one of an LSTM's biases, is called and gives
    the same value for all seeds.

    Raises:
        InputError: if the model cannot be built from its configuration or an initializer is of
            a class that is not Keras's.
    """
    return [_draw_of(variable) for variable in _uninitialized(model).trainable_variables]


def _uninitialized(model):
    """The model built again without values, because Keras drops initializers once they ran."""
    try:
        with keras.StatelessScope(initialize_variables=False):
            clone = type(model).from_config(model.get_config())
            if not clone.built:
                clone.build_from_config(model.get_build_config())
    except Exception as error:  # A model's own code may raise anything.
        raise _needs_initial(f"model {model.name!r} cannot be built from its config") from error
    shapes = [v.shape for v in model.trainable_variables]
    if [v.shape for v in clone.trainable_variables] != shapes:
        raise _needs_initial(f"the config of model {model.name!r} gives other variables")
    return clone


def _needs_initial(problem: str) -> errors.InputError:
    return errors.InputError(
        f"{problem}; pass initial=, a function from a seed to the initial parameters"
    )


def _draw_of(variable):
    initializer, shape = variable._initializer, variable.shape
    dtype = tf.as_dtype(variable.dtype)
    for kind, draw in _DRAWS.items():
        if isinstance(initializer, kind):
            return functools.partial(draw, initializer, shape, dtype)
    if isinstance(initializer, keras.initializers.Initializer):
        raise _needs_initial(f"{type(initializer).__name__} is not an initializer of Keras")
    return functools.partial(_constant, initializer, shape, dtype)


def _constant(initializer, shape, dtype, seed):
    del seed
    return tf.convert_to_tensor(initializer(shape, dtype=dtype))


def _variance_scaling(initializer, shape, dtype, seed):
    fan_in, fan_out = _fans(initializer, shape)
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
    stddev = math.sqrt(initializer.scale / max(1.0, fan[initializer.mode]))
    if initializer.distribution == "uniform":
        limit = math.sqrt(3) * stddev
        return seeds.uniform(seed, shape, -limit, limit, dtype)
    if initializer.distribution == "truncated_normal":
        return seeds.truncated_normal(seed, shape, stddev / _TRUNCATED_STDDEV, dtype)
    return seeds.normal(seed, shape, stddev, dtype)


def _fans(initializer, shape):
    axes = initializer.input_axes, initializer.output_axes
    if None not in axes:
        return tuple(math.prod(shape[axis] for axis in group) for group in axes)
    if len(shape) < 2:
        return (math.prod(shape),) * 2
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


def _random_normal(initializer, shape, dtype, seed):
    return initializer.mean + seeds.normal(seed, shape, initializer.stddev, dtype)


def _truncated_normal(initializer, shape, dtype, seed):
    return initializer.mean + seeds.truncated_normal(seed, shape, initializer.stddev, dtype)


def _random_uniform(initializer, shape, dtype, seed):
    return seeds.uniform(seed, shape, initializer.minval, initializer.maxval, dtype)


def _orthogonal(initializer, shape, dtype, seed):
    rows, columns = math.prod(shape[:-1]), shape[-1]
    normal = seeds.normal(seed, [max(rows, columns), min(rows, columns)], dtype=dtype)
    q, r = tf.linalg.qr(normal)
    # Without the signs, the matrices would not be uniformly distributed.
    q *= tf.sign(tf.linalg.diag_part(r))
    if rows < columns:
        q = tf.transpose(q)
    return initializer.gain * tf.reshape(q, shape)


_DRAWS = {
    keras.initializers.VarianceScaling: _variance_scaling,
    keras.initializers.RandomNormal: _random_normal,
    keras.initializers.TruncatedNormal: _truncated_normal,
    keras.initializers.RandomUniform: _random_uniform,
    keras.initializers.Orthogonal: _orthogonal,
    keras.initializers.Constant: _constant,
    keras.initializers.Zeros: _constant,
    keras.initializers.Ones: _constant,
    keras.initializers.Identity: _constant,
}
