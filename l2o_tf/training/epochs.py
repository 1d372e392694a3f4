"""Epochs: whole trajectories of meta-training, imitation or validation as one graph call each.

Everything an epoch changes is in its arguments and its result, so that an interrupted epoch
leaves nothing half done and the same arguments give the same bits.
"""

from typing import NamedTuple

import tensorflow as tf

from l2o_tf import loops, seeds
from l2o_tf.optimizees.base import Optimizee
from l2o_tf.rules.base import State, UpdateRule, Weights
from l2o_tf.training import imitation, meta_loss
from l2o_tf.training import unroll as unrolls
from l2o_tf.training.plan import Plan, first_state


class MetaState(NamedTuple):
    """What meta-training learns.

    Attributes:
        weights: the rule's meta-parameters by name.
        meta_loss_optimizer: state of the meta-optimizer of normal epochs.
        imitation_optimizer: state of the meta-optimizer of imitation epochs. The two losses have
            a meta-optimizer each, as in the legacy code.
        skipped: int32 scalar, meta-steps that were skipped for a non-finite gradient.
    """

    weights: Weights
    meta_loss_optimizer: State
    imitation_optimizer: State
    skipped: tf.Tensor


class Epoch(NamedTuple):
    """The result of one epoch.

    Attributes:
        meta: the state after it.
        losses: [num_unrolls], the mean of each unroll's losses.
        gradient_norms: [num_unrolls], L2 norms of the gradients of the mean losses' sums.
    """

    meta: MetaState
    losses: tf.Tensor
    gradient_norms: tf.Tensor


_SCALARS = (tf.TensorSpec([], tf.float32), tf.TensorSpec([], tf.float32))


class Epochs:
    """Compiled epochs of one rule on one optimizee.

    The number of unrolls is a tensor: no stage of a curriculum traces anything anew.
    """

    def __init__(
        self,
        rule: UpdateRule,
        optimizee: Optimizee,
        meta_optimizer: UpdateRule,
        teacher: UpdateRule | None = None,
        unroll_length: int = 20,
        steps_per_label: int = 1,
        plan: Plan = Plan(),
    ):
        """Prepares the epochs; each is traced at its first call.

        Args:
            rule: the rule to train.
            optimizee: what it is trained on.
            meta_optimizer: the rule that changes the rule's weights.
            teacher: the rule to imitate.
            unroll_length: optimizee steps per meta-step.
            steps_per_label: the teacher's steps per step of the student.
            plan: how long unrolls are and what they are scored by.
        """
        self._rule, self._optimizee, self._teacher = rule, optimizee, teacher
        self._meta_optimizer = meta_optimizer
        self._unroll_length = unroll_length
        self._steps_per_label = steps_per_label
        self._plan = plan
        self._max_length = plan.max_length(unroll_length)
        self.train = tf.function(self._train, autograph=False)
        self.imitate = tf.function(self._imitate, autograph=False)
        self.validate = tf.function(self._validate, autograph=False)

    def initial_state(self, weights: Weights) -> MetaState:
        """The state before the first epoch."""
        values = list(weights.values())
        return MetaState(
            weights,
            self._meta_optimizer.init(values),
            self._meta_optimizer.init(values),
            tf.constant(0),
        )

    def _train(self, meta: MetaState, seed: seeds.Seed, num_unrolls: tf.Tensor) -> Epoch:
        """One epoch of normal meta-training from the trajectory `seed` (int32 [2])."""

        arguments = self._rule, self._optimizee, seed

        @self._compiled
        def meta_step(meta, trajectory, k, num_unrolls, initial_loss):
            batches = unrolls.random_batches(self._optimizee, seed, k * (self._max_length + 1))
            result = meta_loss.meta_gradient(
                self._rule,
                self._optimizee,
                trajectory,
                batches,
                self._max_length,
                meta.weights,
                self._plan.setting(
                    *arguments, k, num_unrolls, initial_loss, trajectory, batches
                ),
            )
            meta, norm = self._apply(meta, result.gradient, "meta_loss_optimizer")
            reported = self._plan.objective.report(result.objective, result.taken)
            return meta, result.end, (reported, norm)

        def step(carry, k):
            *carry, metrics = meta_step(*carry, k, num_unrolls, initial_loss)
            return tuple(carry), metrics

        start = unrolls.start(self._optimizee, self._rule, seed, meta.weights)
        num_unrolls = self._plan.num_unrolls(seed, num_unrolls)
        initial_loss = self._plan.initial_loss(*arguments, start)
        (meta, _), metrics = loops.scan(step, (meta, start), num_unrolls, _SCALARS)
        return Epoch(meta, *metrics)

    def _imitate(self, meta: MetaState, seed: seeds.Seed, num_unrolls: tf.Tensor) -> Epoch:
        """One epoch of imitation of a teacher's trajectory from `seed`."""
        num_batches = self._unroll_length * self._steps_per_label
        student_seed = seeds.fold(seed, 3)

        @loops.compiled
        def teach(trajectory, first_batch):
            return imitation.teach(
                self._teacher,
                self._optimizee,
                trajectory,
                unrolls.random_batches(self._optimizee, seed, first_batch),
                self._unroll_length,
                self._steps_per_label,
            )

        @self._compiled
        def meta_step(meta, trajectory, state, k):
            lesson = teach(trajectory, k * num_batches)
            losses, gradient, state = imitation.imitation_gradient(
                self._rule,
                state,
                lesson,
                meta.weights,
                self._plan.objective,
                first_state(self._rule, student_seed, k, trajectory.params, state),
            )
            meta, norm = self._apply(meta, gradient, "imitation_optimizer")
            return meta, lesson.end, state, (tf.reduce_mean(losses), norm)

        def step(carry, k):
            *carry, metrics = meta_step(*carry, k)
            return tuple(carry), metrics

        start = unrolls.start(self._optimizee, self._teacher, seed)
        state = self._rule.init(start.params, student_seed, meta.weights)
        (meta, _, _), metrics = loops.scan(step, (meta, start, state), num_unrolls, _SCALARS)
        return Epoch(meta, *metrics)

    def _validate(
        self, weights: Weights, seed: seeds.Seed, num_unrolls: tf.Tensor
    ) -> tf.Tensor:
        """Runs the rule from `seed` without meta-steps.

        Returns:
            The mean of each unroll's losses, [num_unrolls].
        """

        @loops.compiled
        def unroll(trajectory, first_batch):
            run = unrolls.unroll(
                self._rule,
                self._optimizee,
                trajectory,
                unrolls.random_batches(self._optimizee, seed, first_batch),
                self._unroll_length,
                weights,
            )
            return run.end, tf.reduce_mean(run.losses)

        def step(trajectory, k):
            return unroll(trajectory, k * self._unroll_length)

        start = unrolls.start(self._optimizee, self._rule, seed, weights)
        _, losses = loops.scan(step, start, num_unrolls, tf.TensorSpec([], tf.float32))
        return losses

    def _compiled(self, meta_step):
        """Leaves rules that compile themselves alone."""
        return meta_step if self._rule.compiles_itself else loops.compiled(meta_step)

    def _apply(self, meta: MetaState, gradient: Weights, optimizer: str):
        """One meta-step; a non-finite gradient changes nothing but the count of such steps."""
        names = list(meta.weights)
        grads = [gradient[name] for name in names]
        values = [meta.weights[name] for name in names]
        norm = tf.linalg.global_norm(grads)
        updates, state = self._meta_optimizer.update(grads, getattr(meta, optimizer), values)
        moved = {name: v + u for name, v, u in zip(names, values, updates)}
        after = meta._replace(weights=moved, **{optimizer: state})
        # What is checked is the step: a meta-optimizer may know what to do with such a gradient.
        finite = tf.reduce_all(
            [
                tf.reduce_all(tf.math.is_finite(x))
                for x in tf.nest.flatten((updates, state))
                if x.dtype.is_floating
            ]
        )
        kept = tf.nest.map_structure(lambda new, old: tf.where(finite, new, old), after, meta)
        skipped = meta.skipped + tf.cast(tf.logical_not(finite), tf.int32)
        return kept._replace(skipped=skipped), norm
