"""Long runs of rules on optimizees, without meta-training: what evaluate and tune measure with."""

import collections
import json
import time
from collections.abc import Callable, Hashable

import numpy as np
import tensorflow as tf

from l2o_tf.core import loops, seeds
from l2o_tf.optimizees.base import Optimizee
from l2o_tf.rules.base import UpdateRule
from l2o_tf.training import unrolls

# Steps per compiled unroll; the loop over chunks is in the graph as well. Ctrl-C has to wait for
# the end of a call, at least a chunk; their number doubles until a call takes a second. On
# conv_mnist a chunk does, and shorter ones cost time on small optimizees.
_CHUNK = 20
_MAX_CHUNKS_PER_CALL = 320
_SECONDS_PER_CALL = 1.0


class Runner:
    """Runs rules on one optimizee.

    Rules of the same architecture share a compiled loop, to which the weights are an argument.
    """

    def __init__(self, optimizee: Optimizee):
        self._optimizee = optimizee
        self._compiled: dict[Hashable, Callable] = {}
        self._chunks_per_call: dict[Hashable, int] = collections.defaultdict(lambda: 1)

    def run(
        self,
        rule: UpdateRule,
        seed: seeds.Seed,
        num_steps: int,
        progress: Callable[[int], None] = lambda steps: None,
    ) -> np.ndarray:
        """Optimizes for `num_steps` steps from the trajectory `seed`, int32 [2].

        `progress` is given the number of steps that are done, every second or so.

        Source: the legacy `evaluate_dm.py`: every step is scored after its update, on a fresh
        batch.

        Returns:
            float32 [num_steps]: f(theta_1), f(theta_2), ..., not finite from where a rule
            diverged.
        """
        architecture = architecture_of(rule)
        if architecture not in self._compiled:
            self._compiled[architecture] = self._compile(rule)
        # Outside the shared loop, because the first state may depend on this rule's weights.
        trajectory = unrolls.start(self._optimizee, rule, seed)
        weights, num_chunks = rule.weights(), -(-num_steps // _CHUNK)
        losses, first = [], 0
        while first < num_chunks:
            number = min(self._chunks_per_call[architecture], num_chunks - first)
            started = time.monotonic()
            trajectory, part = self._compiled[architecture](
                weights, trajectory, seed, tf.constant(first), tf.constant(number)
            )
            losses.append(part.numpy().ravel())
            first += number
            progress(min(first * _CHUNK, num_steps))
            if time.monotonic() - started < _SECONDS_PER_CALL / 2:
                self._chunks_per_call[architecture] = min(2 * number, _MAX_CHUNKS_PER_CALL)
        return np.concatenate(losses)[:num_steps]

    def _compile(self, rule: UpdateRule):
        optimizee = self._optimizee

        @loops.compiled_if(optimizee.compiles)
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


def architecture_of(rule: UpdateRule) -> Hashable:
    """Equal for rules that differ in their meta-parameters only."""
    if rule.registered_name is None:
        return rule
    weights = rule.weights()
    options = {key: value for key, value in rule.options().items() if key not in weights}
    return rule.registered_name, json.dumps(options, sort_keys=True)
