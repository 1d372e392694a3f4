"""Evaluation of K trajectories at once: the steps of `evaluation.runner` in lanes."""

import tensorflow as tf

from l2o_tf.core import loops
from l2o_tf.export import axes, classifiers, minibatches
from l2o_tf.export.carried import Images
from l2o_tf.optimizees import base as optimizee_base
from l2o_tf.rules import base
from l2o_tf.training import unrolls


class Trajectories:
    """Runs a rule on an optimizee, for a fixed number of trajectories."""

    def __init__(
        self,
        rule: base.UpdateRule,
        optimizee: optimizee_base.Optimizee,
        num_lanes: int,
        num_steps: int,
    ):
        """Prepares the program.

        Args:
            rule: the rule; lanes have weights of their own.
            optimizee: an image classifier.
            num_lanes: K.
            num_steps: the steps of one call.

        Raises:
            InputError: for an optimizee that cannot run in lanes.
        """
        self.rule, self.optimizee = rule, classifiers.vectorizable(optimizee)
        self.num_lanes, self.num_steps = num_lanes, num_steps

    def run(
        self,
        trajectory: unrolls.Trajectory,
        weights: base.Weights,
        seed: tf.Tensor,
        first_step: tf.Tensor,
        data: Images,
        scale: tf.Tensor,
    ) -> tuple[unrolls.Trajectory, tf.Tensor]:
        """Takes `num_steps` steps.

        Args:
            trajectory: where the trajectories stand, tensors [K, ...].
            weights: of the rule, [K, ...] by name.
            seed: int32 [K, 2], the seeds of the trajectories.
            first_step: int32 scalar, the number of the first step.
            data: the images.
            scale: float32 scalar, what pixels are multiplied with.

        Returns:
            Where they stand afterwards, and the loss after each step [num_steps, K].
        """
        # Even batches give the gradients, odd ones the recorded losses.
        first, count = tf.fill([self.num_lanes], 2 * first_step), 2 * self.num_steps
        batches = minibatches.in_lanes(seed, first, count, self.optimizee.batch_size, data, scale)

        def step(current, t):
            return axes.mapped(self._step, current, weights, batches(2 * t), batches(2 * t + 1))

        like = tf.TensorSpec([self.num_lanes], tf.float32)
        return loops.scan(step, trajectory, self.num_steps, like)

    def _step(self, current, weights, batch, scoring_batch):
        """One step of one lane."""
        _, grads = unrolls.loss_and_gradients(self.optimizee, current.params, batch)
        updates, state = self.rule.update(grads, current.rule_state, current.params, weights)
        moved = unrolls.move(current, updates, state)
        points = self.rule.true_params(moved.params, state)
        return moved, self.optimizee.loss(points, scoring_batch)
