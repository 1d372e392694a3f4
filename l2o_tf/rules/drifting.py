"""What a rule does besides where there is no gradient; not of the paper."""

import dataclasses

import tensorflow as tf

from l2o_tf.core import coordinates, errors

_OF = ("coordinates", "units")


@dataclasses.dataclass(frozen=True)
class Drift:
    """A number that is added to updates where gradients are exactly 0.

    A positive one revives what is rectified to 0 on all inputs of a minibatch, which has no
    gradient to come back by. The paper's rules do so, or do not, by the drift that training left
    them with.

    Attributes:
        size: the number.
        of: "coordinates" for each whose gradient is 0; "units" for those alone that share their
            index on the last axis, which layers have their units on, with no coordinate of their
            tensor that has a gradient. The weights of an input that is 0 on most minibatches,
            a pixel at the border or a rare word, then stay where they are.

    Raises:
        InputError: for another `of`.
    """

    size: float = 0.0
    of: str = "coordinates"

    def __post_init__(self):
        object.__setattr__(self, "size", float(self.size))
        if self.of not in _OF:
            raise errors.InputError(
                f"drift_of {self.of!r} is unknown: choose one of {', '.join(_OF)}"
            )

    def options(self) -> dict[str, float | str]:
        """A rule's `drift` and `drift_of` where they are in use: older cards stay valid."""
        if not self.size:
            return {}
        return {"drift": self.size} | ({} if self.of == "coordinates" else {"drift_of": self.of})

    def add(
        self, updates: coordinates.Params, grads: coordinates.Params, leading: int = 0
    ) -> coordinates.Params:
        """Adds the drift.

        Args:
            updates: tensors [..., *shape_i].
            grads: of the same shapes.
            leading: the number of axes before those of the parameters.

        Returns:
            The updates [..., *shape_i]; with a size of 0 those that were given.
        """
        if not self.size:
            return updates
        return [tf.where(self._still(g, leading), u + self.size, u) for u, g in zip(updates, grads)]

    def _still(self, grads: tf.Tensor, leading: int) -> tf.Tensor:
        if self.of == "units":
            axes = list(range(leading, grads.shape.rank - 1))
            # Not `reduce_all`: versions of StableHLO do not agree on how to write its constant.
            grads = tf.reduce_max(tf.abs(grads), axes, keepdims=True)
        return tf.equal(grads, 0)
