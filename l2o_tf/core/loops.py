"""A compiled loop that carries a state and stacks what every step returns."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

Carry = TypeVar("Carry")

in_graph = functools.partial(tf.function, autograph=False)
# Compiles with XLA each time it is called outside of other compiled code.
compiled = functools.partial(in_graph, jit_compile=True)


def compiled_if(condition: bool) -> Callable[[Callable], Any]:
    """`compiled` where XLA can compile what is in a function, else `in_graph`."""
    return compiled if condition else in_graph


def record(
    step: Callable[[Carry, tf.Tensor], tuple[Carry, Any]],
    carry: Carry,
    num_steps: int | tf.Tensor,
    like: Any,
    goes_on: Callable[[Carry, tf.Tensor], tf.Tensor] | None = None,
) -> tuple[Carry, Any]:
    """Calls `step(carry, t) -> (carry, outputs)` for t = 0, 1, ..., num_steps - 1.

    Args:
        step: one step; the structure, shapes and dtypes of the carry never change.
        carry: the state before the first step, a nest of tensors.
        num_steps: an int, or an int32 scalar for a loop that is not differentiated under XLA
            (its gradient needs a bound that is known at compile time).
        like: a nest of tensors or `tf.TensorSpec` with the structure of `outputs`.
        goes_on: maps (carry, t) to a bool scalar, whether to take step t; all by default. The
            outputs of steps that were not taken are zeros.

    Returns:
        The carry after the last step, and the outputs as a nest of tensor arrays, which outside
        of XLA hold them without a copy.
    """

    def array(spec):
        return tf.TensorArray(
            spec.dtype, size=num_steps, element_shape=spec.shape, clear_after_read=False
        )

    def body(t, carry, arrays):
        carry, outputs = step(carry, t)
        tf.nest.assert_same_structure(arrays, outputs)
        written = [a.write(t, o) for a, o in zip(tf.nest.flatten(arrays), tf.nest.flatten(outputs))]
        return t + 1, carry, tf.nest.pack_sequence_as(arrays, written)

    _, carry, arrays = tf.while_loop(
        lambda t, carry, _: (t < num_steps) & (True if goes_on is None else goes_on(carry, t)),
        body,
        (tf.constant(0), carry, tf.nest.map_structure(array, like)),
        maximum_iterations=num_steps if isinstance(num_steps, int) else None,
    )
    return carry, arrays


def scan(
    step: Callable[[Carry, tf.Tensor], tuple[Carry, Any]],
    carry: Carry,
    num_steps: int | tf.Tensor,
    like: Any = (),
    goes_on: Callable[[Carry, tf.Tensor], tf.Tensor] | None = None,
    vectorizable: bool = False,
) -> tuple[Carry, Any]:
    """Like `record`, but returns the outputs stacked to [num_steps, ...].

    A `vectorizable` loop can be in a `tf.vectorized_map` under XLA, which takes no tensor arrays;
    each of its steps writes all outputs of all steps anew.
    """
    if vectorizable:
        return _scan_without_arrays(step, carry, num_steps, like, goes_on)
    carry, arrays = record(step, carry, num_steps, like, goes_on)
    return carry, tf.nest.map_structure(lambda a: a.stack(), arrays)


def _scan_without_arrays(step, carry, num_steps, like, goes_on):
    def zeros(spec):
        return tf.zeros([num_steps, *spec.shape], spec.dtype)

    def body(t, carry, stacks):
        carry, outputs = step(carry, t)
        is_now = tf.equal(tf.range(num_steps), t)

        def write(stack, output):
            now = tf.reshape(is_now, [num_steps, *[1] * output.shape.rank])
            return tf.where(now, output[None], stack)

        return t + 1, carry, tf.nest.map_structure(write, stacks, outputs)

    _, carry, stacks = tf.while_loop(
        lambda t, carry, _: (t < num_steps) & (True if goes_on is None else goes_on(carry, t)),
        body,
        (tf.constant(0), carry, tf.nest.map_structure(zeros, like)),
        maximum_iterations=num_steps,
    )
    return carry, stacks


def reverse(
    step: Callable[[Carry, Any], Carry], carry: Carry, num_steps: int, arrays: Any
) -> Carry:
    """Calls `step(carry, outputs)` for the outputs that `record` kept, the last ones first."""

    def body(t, carry):
        return t - 1, step(carry, tf.nest.map_structure(lambda a: a.read(t), arrays))

    _, carry = tf.while_loop(
        lambda t, _: t >= 0,
        body,
        (tf.constant(num_steps - 1), carry),
        maximum_iterations=num_steps,
    )
    return carry


def output_specs(function: Any, *args) -> Any:
    """The `tf.TensorSpec` of what a compiled function returns for `args`."""
    return function.get_concrete_function(*args).structured_outputs
