"""One of several rules, drawn at random."""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from l2o_tf import seeds
from l2o_tf.rules import base


def draw(seed: seeds.Seed, probabilities: Sequence[float] | tf.Tensor) -> tf.Tensor:
    """Draws an index, an int32 scalar, with probabilities that sum to 1."""
    limits = tf.cumsum(tf.convert_to_tensor(probabilities, tf.float32))
    index = tf.reduce_sum(tf.cast(seeds.uniform(seed, []) >= limits, tf.int32))
    # Rounding can leave the last limit below 1.
    return tf.minimum(index, limits.shape[0] - 1)


class OneOfState(NamedTuple):
    """The index of the drawn rule, an int32 scalar, and the states of all rules."""

    choice: tf.Tensor
    states: tuple[base.State, ...]


class OneOf(base.UpdateRule):
    """Each trajectory runs one rule: the teachers of Algorithm 2 of the paper."""

    def __init__(
        self,
        rules: Sequence[base.UpdateRule],
        probabilities: Sequence[float] | None = None,
        name: str | None = None,
    ):
        """Takes analytical rules and their probabilities, equal by default."""
        super().__init__(name=name)
        self.rules = tuple(rules)
        total = sum(probabilities) if probabilities else len(self.rules)
        self.probabilities = [p / total for p in probabilities or [1] * len(self.rules)]

    def init(self, params, seed=None, weights=None):
        seed = seeds.make_seed(0, "one of several rules") if seed is None else seed
        states = tuple(
            rule.init(params, seeds.fold(seed, i + 1)) for i, rule in enumerate(self.rules)
        )
        return OneOfState(draw(seeds.fold(seed, 0), self.probabilities), states)

    def update(self, grads, state, params, weights=None):
        def branch(index):
            def run():
                updates, new = self.rules[index].update(
                    grads, state.states[index], params, weights
                )
                states = (*state.states[:index], new, *state.states[index + 1 :])
                return updates, states

            return run

        branches = [branch(i) for i in range(len(self.rules))]
        updates, states = tf.switch_case(state.choice, branches)
        return updates, OneOfState(state.choice, states)
