"""Long runs of rules on optimizees, without meta-training: what evaluate and tune measure with."""

import json

import numpy as np
import tensorflow as tf

from l2o_tf.core import loops, seeds
from l2o_tf.optimizees.base import Optimizee
from l2o_tf.rules.base import UpdateRule
from l2o_tf.training import unrolls

_CHUNK = 100  # Steps per XLA-compiled unroll; the loop over chunks is in the graph as well.
_CHUNKS_PER_CALL = 10  # Ctrl-C has to wait for the end of a call.


class Runner:
    """Runs rules on one optimizee.

    Rules of the same architecture share a compiled loop, to which the weights are an argument.
    """

    def __init__(self, optimizee: Optimizee):
        self._optimizee = optimizee
        self._compiled = {}

    def run(self, rule: UpdateRule, seed: seeds.Seed, num_steps: int) -> np.ndarray:
        """Optimizes for `num_steps` steps from the trajectory `seed`, int32 [2].

        Source: the legacy `evaluate_dm.py`: every step is scored after its update, on a fresh
        batch.

        Returns:
            float32 [num_steps]: f(theta_1), f(theta_2), ..., not finite from where a rule
            diverged.
        """
        architecture = _architecture(rule)
        if architecture not in self._compiled:
            self._compiled[architecture] = self._compile(rule)
        # Outside the shared loop, because the first state may depend on this rule's weights.
        trajectory = unrolls.start(self._optimizee, rule, seed)
        weights, num_chunks = rule.weights(), -(-num_steps // _CHUNK)
        losses = []
        for first in range(0, num_chunks, _CHUNKS_PER_CALL):
            number = min(_CHUNKS_PER_CALL, num_chunks - first)
            trajectory, part = self._compiled[architecture](
                weights, trajectory, seed, tf.constant(first), tf.constant(number)
            )
            losses.append(part.numpy().ravel())
        return np.concatenate(losses)[:num_steps]

    def _compile(self, rule: UpdateRule):
        optimizee = self._optimizee

        @loops.compiled
        def unroll(weights, trajectory, seed, first_step):
            # Even batches give the gradients, odd ones the recorded losses.
            batches = unrolls.random_batches(optimizee, seed, 0)
            run = unrolls.unroll(
                rule,
                optimizee,
                trajectory,
                lambda t: batches(2 * (first_step + t)),
                _CHUNK,
                weights,
                unrolls.Watch(scoring_batches=lambda t: batches(2 * (first_step + t) + 1)),
            )
            return run.end, tf.cast(run.scores, tf.float32)

        @loops.in_graph
        def run(weights, trajectory, seed, first_chunk, num_chunks):
            def step(trajectory, k):
                return unroll(weights, trajectory, seed, (first_chunk + k) * _CHUNK)

            like = tf.TensorSpec([_CHUNK], tf.float32)
            return loops.scan(step, trajectory, num_chunks, like)

        return run


def _architecture(rule: UpdateRule):
    """Equal for rules that differ in their meta-parameters only."""
    if rule.registered_name is None:
        return rule
    weights = rule.weights()
    options = {key: value for key, value in rule.options().items() if key not in weights}
    return rule.registered_name, json.dumps(options, sort_keys=True)
