"""What an optimizee must be before anything is spent on training it."""

import math

import tensorflow as tf
from absl import logging

from l2o_tf.core import errors, seeds
from l2o_tf.optimizees import base


def check(optimizee: base.Optimizee, name: str) -> None:
    """Traces the loss and its gradient, without computing anything.

    Args:
        optimizee: what to check.
        name: what messages call it.

    Raises:
        InputError: if there is nothing to train, if the parameters are not float32 tensors of
            static shape, if the loss is no float32 scalar or does not depend on the parameters,
            or if one of the methods fails.
    """

    def trace():
        seed = seeds.make_seed(0, "check")
        params = list(optimizee.init(seed))
        _check_params(params, name)
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = optimizee.loss(params, optimizee.batch(seed, tf.constant(0)))
        _check_loss(loss, name)
        if all(gradient is None for gradient in tape.gradient(loss, params)):
            raise errors.InputError(f"the loss of {name} does not depend on its parameters")

    try:
        tf.function(trace, autograph=False).get_concrete_function()
    except errors.InputError:
        raise
    except Exception as error:  # A user's own code may raise anything.
        reason = errors.reason(error, typed=True)
        raise errors.InputError(f"{name} cannot be trained: {reason}") from error


def ask_xla(optimizee: base.Optimizee, name: str) -> None:
    """Finds out whether XLA can translate the loss and its gradient, without computing anything.

    Where it cannot, `optimizee.compiles` becomes False, and a warning says so.
    """
    seed = seeds.make_seed(0, "check")

    @tf.function(autograph=False, jit_compile=True)
    def trace(seed, step):
        params = list(optimizee.init(seed))
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = optimizee.loss(params, optimizee.batch(seed, step))
        return tape.gradient(loss, params, unconnected_gradients="zero")

    try:
        trace.experimental_get_compiler_ir(seed, tf.constant(0))(stage="hlo_serialized")
    except (tf.errors.OpError, ValueError):
        optimizee.compiles = False
        logging.warning(
            "XLA cannot compile %s: trainings and evaluations run it as a graph, slower", name
        )


def _check_params(params, name):
    if not sum(math.prod(getattr(p, "shape", ())) for p in params):
        raise errors.InputError(f"{name} has no parameters to train")
    for index, param in enumerate(params):
        if not tf.is_tensor(param) or param.dtype != tf.float32:
            found = param.dtype.name if tf.is_tensor(param) else type(param).__name__
            raise errors.InputError(
                f"parameter {index} of {name} is {found}: rules train float32 tensors"
            )


def _check_loss(loss, name):
    if not tf.is_tensor(loss) or loss.shape.rank != 0 or loss.dtype != tf.float32:
        found = f"{loss.dtype.name} {loss.shape}" if tf.is_tensor(loss) else type(loss).__name__
        raise errors.InputError(f"the loss of {name} is {found}: it must be a float32 scalar")
