"""Meta-objectives: how the losses of an unroll become the number that meta-training lowers."""

import dataclasses

import tensorflow as tf

from l2o_tf.core import errors
from l2o_tf.training.choices import OBJECTIVES

_EPSILON = 1e-6


def log_ratio(losses: tf.Tensor, initial_loss: tf.Tensor) -> tf.Tensor:
    """log((f + 1e-6) / (f_0 + 1e-6)) of losses f, any shape, and a scalar f_0."""
    return tf.math.log((losses + _EPSILON) / (initial_loss + _EPSILON))


@dataclasses.dataclass(frozen=True)
class Objective:
    """What an unroll of T steps that passes points with losses f_0, ..., f_T is worth.

    "sum" is the meta-loss of L2O-DM and RNNprop, sum_{t <= T} f_t. The other two are those of
    L2O-Scale, relative to the loss f of the trajectory's first point, and leave the last point
    out, as the legacy code does: "mean" is sum_{t < T} f_t / (T (f + 1e-6)), and "log" is the
    mean of log(f_t / (f + 1e-6) + 1e-6) over 0, 0, 1, ..., T - 1, with the first point twice.
    Both need losses that are not negative.

    Source: paper section 3; legacy L2O-Scale `trainable_optimizer.py`, `use_log_objective`.

    Attributes:
        kind: one of `OBJECTIVES`.
        numerator_epsilon: whether "log" takes log((f_t + 1e-6) / (f + 1e-6)) instead.
        early_stop: m; an unroll ends before a step at a loss that is not below f + (m - 1) |f|
            or not finite. The offending loss still counts. None never stops.
    """

    kind: str = "sum"
    numerator_epsilon: bool = False
    early_stop: float | None = None

    def __post_init__(self):
        if self.kind not in OBJECTIVES:
            raise errors.InputError(
                f"unknown objective {self.kind!r}; known: {', '.join(OBJECTIVES)}"
            )
        if self.early_stop is not None and not self.early_stop > 1:
            raise errors.InputError(
                f"an early stop needs a multiple of the first loss above 1, got {self.early_stop}"
            )

    @property
    def is_relative(self) -> bool:
        """Whether it needs the loss of the trajectory's first point."""
        return self.kind != "sum" or self.early_stop is not None

    @property
    def scores_end(self) -> bool:
        """Whether the last point of an unroll counts."""
        return self.kind == "sum"

    def total(
        self,
        losses: tf.Tensor,
        end_loss: tf.Tensor,
        initial_loss: tf.Tensor,
        first_loss: tf.Tensor | None = None,
        taken: tf.Tensor | None = None,
        planned: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The objective of one unroll, a scalar.

        Args:
            losses: [unroll_length], the losses before each step.
            end_loss: the loss after the last step; matters where `scores_end` is true.
            initial_loss: the loss of the trajectory's first point; matters where `is_relative`.
            first_loss: that of the unroll's first point, where it may have taken no step.
            taken: int32 scalar, the number of steps taken; all by default, the others' losses
                are left out.
            planned: int32 scalar, the number of steps that an early stop may have cut.
        """
        num_steps = losses.shape[0]
        taken = num_steps if taken is None else taken
        planned = tf.cast(num_steps if planned is None else planned, losses.dtype)

        def summed(terms):
            return tf.reduce_sum(tf.where(tf.range(num_steps) < taken, terms, 0))

        if self.kind == "sum":
            return summed(losses) + end_loss
        if self.kind == "mean":
            return summed(losses) / planned / (initial_loss + _EPSILON)
        first = self._log(losses[0] if first_loss is None else first_loss, initial_loss)
        logs = self._log(losses, initial_loss)
        return (first + summed(logs)) / tf.cast(taken + 1, losses.dtype)

    def _log(self, losses: tf.Tensor, initial_loss: tf.Tensor) -> tf.Tensor:
        if self.numerator_epsilon:
            return log_ratio(losses, initial_loss)
        return tf.math.log(losses / (initial_loss + _EPSILON) + _EPSILON)

    def goes_on(self, loss: tf.Tensor, initial_loss: tf.Tensor) -> tf.Tensor:
        """Whether an unroll takes another step after a loss, a bool scalar."""
        if self.early_stop is None:
            return tf.constant(True)
        return loss < initial_loss + (self.early_stop - 1) * tf.abs(initial_loss)

    def report(self, total: tf.Tensor, taken: int | tf.Tensor) -> tf.Tensor:
        """What to show of an unroll of `taken` steps: the mean loss, or the objective."""
        return total / tf.cast(taken + 1, total.dtype) if self.kind == "sum" else total

    def imitation_total(self, losses: tf.Tensor) -> tf.Tensor:
        """The objective of imitation from the losses [num_labels] of its steps: sum or mean."""
        return tf.reduce_sum(losses) if self.kind == "sum" else tf.reduce_mean(losses)
