"""Unrolls of the hierarchical RNN from a given start, and how to compare them with legacy ones."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf.legacy import tf1_checkpoint
from l2o_tf.rules import hierarchical_rnn
from l2o_tf.training import meta_loss, unrolls
from l2o_tf.training.segment import Segment

NUM_STEPS = 10
SEED = tf.constant([0, 0])


class Unrolls:
    """The compiled unroll of one case, from a given start."""

    def __init__(
        self,
        optimizee,
        params,
        log_lr,
        num_steps=NUM_STEPS,
        penalty=None,
        second_derivatives=False,
        **choices,
    ):
        self.rule = hierarchical_rnn.HierarchicalRNN()
        self.optimizee, self.params, self.num_steps = optimizee, params, num_steps
        self._log_lr, self._penalty, self._choices = log_lr, penalty, choices
        self._second_derivatives = second_derivatives
        self._compiled = tf.function(self._differentiate, autograph=False)

    def first_state(self, weights, carried=None):
        state = self.rule.init(self.params, SEED, weights)
        return state._replace(log_lr=self._log_lr)

    def start(self, weights):
        return unrolls.Trajectory(self.params, self.first_state(weights))

    def __call__(self, trajectory, weights, initial_loss, unroll, indices=None, scored=None):
        return self._compiled(
            trajectory, weights, initial_loss, tf.constant(unroll), indices, scored
        )

    def with_spread(self, trajectory, weights, *arguments):
        """An unroll, and how far its results move with the last bits of what it starts from."""
        result, rng = self(trajectory, weights, *arguments), np.random.default_rng(0)
        spread = tf.nest.map_structure(np.zeros_like, measured(result))
        for _ in range(8):
            moved = tf.nest.map_structure(
                lambda values: one_rounding_away(values, rng), (trajectory, weights)
            )
            other = self(*moved, *arguments)
            spread = tf.nest.map_structure(
                lambda old, a, b: np.maximum(old, np.abs(a - b).max()),
                spread,
                measured(result),
                measured(other),
            )
        return result, Spread(*spread)

    def _differentiate(self, trajectory, weights, initial_loss, unroll, indices, scored):
        def first_state(weights, carried):
            return tf.nest.map_structure(
                lambda new, old: tf.where(unroll == 0, new, old),
                self.first_state(weights),
                carried,
            )

        def batches(t):
            return () if indices is None else self.optimizee.gather(indices[t])

        scoring_batch = None if scored is None else self.optimizee.gather(scored)
        segment = Segment(
            self.rule,
            self.optimizee,
            batches,
            self.num_steps,
            initial_loss=initial_loss,
            scoring_batch=scoring_batch,
            first_state=first_state,
            **self._choices,
        )
        if self._penalty is not None:
            segment = segment._replace(
                penalty=lambda params, t: self._penalty(self.optimizee, params, batches(t))
            )
        return meta_loss.meta_gradient(segment, trajectory, weights, self._second_derivatives)


class Spread(NamedTuple):
    """How far results depend on the last bits of what an unroll starts from, each one number.

    What legacy and our code add up in another order, and each processor in its own, differs as
    much.
    """

    losses: np.ndarray
    params: list[np.ndarray]
    gradient: dict[str, np.ndarray]


def measured(result):
    return tf.nest.map_structure(np.array, (result.losses, result.end.params, result.gradient))


def one_rounding_away(values, rng):
    """The next larger or smaller float32 of each number, at random."""
    targets = np.where(rng.random(values.shape) < 0.5, -np.inf, np.inf)
    return tf.constant(np.nextafter(values, targets.astype(np.float32)))


def check(result, spread, golden, prefix, rule):
    """Compares the objective, the meta-gradients and the parameters with one reference unroll."""
    # The meta-objective is a mean of logarithms of numbers near 1, each rounded to 6e-8.
    np.testing.assert_allclose(result.objective, golden[f"{prefix}metaobj"], rtol=1e-5, atol=6e-8)
    objectives = golden[f"{prefix}problem_objectives"]
    assert int(result.taken) == len(objectives) - 1
    check_all(result.losses[: result.taken], objectives[1:], 2e-6, spread.losses[: result.taken])
    for index, param in enumerate(result.end.params):
        expected = golden[f"{prefix}final_params|{index}"]
        check_all(param, expected, 2e-6, 1e-7 + spread.params[index])
    check_gradient(result.gradient, golden, f"{prefix}grad|", rule, spread.gradient)


def check_all(actual, expected, relative, absolute):
    difference, limit = np.abs(actual - expected), relative * np.abs(expected) + absolute
    assert np.all(difference <= limit), f"{difference} are above {limit} for {expected}"


def check_gradient(gradient, golden, prefix, rule, spread):
    """Compares meta-gradients; `spread` has the name of each weight and numbers like its shape."""
    for ours, theirs in tf1_checkpoint.legacy_names(rule).items():
        expected = golden[f"{prefix}{theirs.replace('/', '|')}"]
        # The spread counts for the decays' gradients: 1e-10, left of larger terms of other signs.
        limit = 1e-4 * np.abs(expected).max() + np.max(spread[ours])
        np.testing.assert_allclose(gradient[ours], expected, rtol=0, atol=limit, err_msg=ours)
