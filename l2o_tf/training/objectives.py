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

    Source: paper section 3; legacy L2O-Scale `trainable_optimizer.py`, `use_log_objective`.

    Attributes:
        early_stop: m; an unroll ends before a step at a loss that is not below f + (m - 1) |f|,
            f the loss of the trajectory's first point, or not finite. The offending loss still
            counts. None never stops.

    Raises:
        InputError: unless m is above 1.
    """

    early_stop: float | None = None

    def __post_init__(self):
        if self.early_stop is not None and not self.early_stop > 1:
            raise errors.InputError(
                f"an early stop needs a multiple of the first loss above 1, got {self.early_stop}"
            )

    @property
    def is_relative(self) -> bool:
        """Whether it needs the loss of the trajectory's first point."""
        return True

    @property
    def scores_end(self) -> bool:
        """Whether the last point of an unroll counts; L2O-Scale's legacy code leaves it out."""
        return False

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
            losses: [max_steps], the losses before each step.
            end_loss: the loss after the last step; matters where `scores_end` is true.
            initial_loss: the loss of the trajectory's first point; matters where `is_relative`.
            first_loss: that of the unroll's first point, where it may have taken no step.
            taken: int32 scalar, the number of steps taken; all by default, the others' losses
                are left out.
            planned: int32 scalar, the number of steps that an early stop may have cut.
        """
        raise NotImplementedError

    def goes_on(self, loss: tf.Tensor, initial_loss: tf.Tensor) -> tf.Tensor:
        """Whether an unroll takes another step after a loss, a bool scalar."""
        if self.early_stop is None:
            return tf.constant(True)
        return loss < initial_loss + (self.early_stop - 1) * tf.abs(initial_loss)

    def report(self, total: tf.Tensor, taken: int | tf.Tensor) -> tf.Tensor:
        """What to show of an unroll of `taken` steps: the mean loss, or the objective."""
        return total

    def imitation_total(self, losses: tf.Tensor) -> tf.Tensor:
        """The objective of imitation from the losses [num_labels] of its steps."""
        return tf.reduce_mean(losses)


@dataclasses.dataclass(frozen=True)
class SumOfLosses(Objective):
    """The meta-loss of L2O-DM and RNNprop: sum_{t <= T} f_t.

    Attributes:
        balanced: whether it is divided by |f| + 1e-6, so that optimizees with losses of different
            size count alike.
    """

    balanced: bool = False

    @property
    def is_relative(self):
        return self.balanced or self.early_stop is not None

    @property
    def scores_end(self):
        return True

    def total(self, losses, end_loss, initial_loss, first_loss=None, taken=None, planned=None):
        total = _summed(losses, taken) + end_loss
        return total / (tf.abs(initial_loss) + _EPSILON) if self.balanced else total

    def report(self, total, taken):
        return total / tf.cast(taken + 1, total.dtype)

    def imitation_total(self, losses):
        return tf.reduce_sum(losses)


@dataclasses.dataclass(frozen=True)
class MeanOfLosses(Objective):
    """L2O-Scale's sum_{t < T} f_t / (T (f + 1e-6)); f must not be negative."""

    def total(self, losses, end_loss, initial_loss, first_loss=None, taken=None, planned=None):
        num_steps = losses.shape[0] if planned is None else planned
        mean = _summed(losses, taken) / tf.cast(num_steps, losses.dtype)
        return mean / (initial_loss + _EPSILON)


@dataclasses.dataclass(frozen=True)
class MeanOfLogs(Objective):
    """L2O-Scale's mean of log(f_t / (f + 1e-6) + 1e-6) over t = 0, 0, 1, ..., T - 1.

    The first point counts twice, as in the legacy code; losses must not be negative.

    Attributes:
        numerator_epsilon: whether it is log((f_t + 1e-6) / (f + 1e-6)) instead.
    """

    numerator_epsilon: bool = False

    def total(self, losses, end_loss, initial_loss, first_loss=None, taken=None, planned=None):
        first = self._log(losses[0] if first_loss is None else first_loss, initial_loss)
        count = losses.shape[0] if taken is None else taken
        logs = _summed(self._log(losses, initial_loss), taken)
        return (first + logs) / tf.cast(count + 1, losses.dtype)

    def _log(self, losses: tf.Tensor, initial_loss: tf.Tensor) -> tf.Tensor:
        if self.numerator_epsilon:
            return log_ratio(losses, initial_loss)
        return tf.math.log(losses / (initial_loss + _EPSILON) + _EPSILON)


def create(
    kind: str,
    numerator_epsilon: bool = False,
    early_stop: float | None = None,
    balanced: bool = False,
) -> Objective:
    """Creates an objective by its name, one of `OBJECTIVES`; the rest are its attributes.

    Raises:
        InputError: for another name or an early stop that is out of range.
    """
    if kind == "sum":
        return SumOfLosses(early_stop, balanced)
    if kind == "mean":
        return MeanOfLosses(early_stop)
    if kind == "log":
        return MeanOfLogs(early_stop, numerator_epsilon)
    raise errors.InputError(f"unknown objective {kind!r}; known: {', '.join(OBJECTIVES)}")


def _summed(terms: tf.Tensor, taken: tf.Tensor | None) -> tf.Tensor:
    num_steps = terms.shape[0]
    taken = num_steps if taken is None else taken
    return tf.reduce_sum(tf.where(tf.range(num_steps) < taken, terms, 0))
