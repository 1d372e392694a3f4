"""Epochs: whole trajectories of meta-training, imitation or validation as one graph call each.

Everything an epoch changes is in its arguments and its result, so that an interrupted epoch
leaves nothing half done and the same arguments give the same bits.
"""

from typing import NamedTuple

import tensorflow as tf

from l2o_tf.core import loops, seeds
from l2o_tf.optimizees.base import Optimizee
from l2o_tf.rules.base import State, UpdateRule, Weights
from l2o_tf.rules.mixture import PerStep
from l2o_tf.training import estimators, imitation, unrolls, validation
from l2o_tf.training.plan import Plan, first_state
from l2o_tf.training.replicas import Replicas
from l2o_tf.training.validation import Validation


class MetaState(NamedTuple):
    """What meta-training learns.

    Attributes:
        weights: the rule's meta-parameters by name.
        meta_loss_optimizer: state of the meta-optimizer of normal epochs.
        imitation_optimizer: state of the meta-optimizer of imitation epochs. The two losses have
            a meta-optimizer each, as in the legacy code, unless they share the first one.
        skipped: int32 scalar, meta-steps that were skipped for a non-finite gradient.
        rule_state: the state that the rule keeps from epoch to epoch; () if none.
    """

    weights: Weights
    meta_loss_optimizer: State
    imitation_optimizer: State
    skipped: tf.Tensor
    rule_state: State = ()


class Epoch(NamedTuple):
    """The result of one epoch.

    Attributes:
        meta: the state after it.
        losses: [num_unrolls], what `Objective.report` makes of each unroll, its mean loss by
            default; of imitation the mean of its losses. Means over trajectories.
        gradient_norms: [num_unrolls], L2 norms of the meta-gradients.
        is_imitation: int32 [num_unrolls], 1 where the loss is the imitation loss, else 0.
        num_steps: int32 [num_unrolls], optimizee steps, planned ones where an unroll ended early.
    """

    meta: MetaState
    losses: tf.Tensor
    gradient_norms: tf.Tensor
    is_imitation: tf.Tensor
    num_steps: tf.Tensor


_FLOAT, _INTEGER = tf.TensorSpec([], tf.float32), tf.TensorSpec([], tf.int32)
_METRICS = (_FLOAT, _FLOAT, _INTEGER, _INTEGER)  # The fields of an Epoch beside its state.


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
        steps_per_label: int = 1,
        mixture: PerStep | None = None,
        estimator: estimators.Estimator = estimators.Backprop(),
        shared_meta_optimizer: bool = False,
        plan: Plan = Plan(),
        relative_validation: bool = False,
        with_xla: bool = True,
        replicas: Replicas = Replicas(),
    ):
        """Prepares the epochs; each is traced at its first call.

        Args:
            rule: the rule to train.
            optimizee: what it is trained on.
            meta_optimizer: the rule that changes the rule's weights.
            teacher: the rule to imitate.
            steps_per_label: the teacher's steps per step of the student.
            mixture: the rule mixed with analytical ones, for self-improving.
            estimator: how the gradients of normal unrolls are found.
            shared_meta_optimizer: whether imitation goes on with the meta-optimizer's state of
                normal epochs instead of its own.
            plan: how long unrolls are and what they are scored by.
            relative_validation: see `validation.validate`.
            with_xla: whether to compile unrolls, but for what a rule compiles itself and for an
                optimizee that XLA cannot compile.
            replicas: the trajectories whose meta-gradients are averaged, and who runs them.
        """
        self._rule, self._optimizee, self._teacher = rule, optimizee, teacher
        self._meta_optimizer, self._mixture = meta_optimizer, mixture
        self._steps_per_label = steps_per_label
        self._estimator = estimator
        self._shares_meta_optimizer = shared_meta_optimizer
        self._plan, self._unroll_length = plan, plan.unroll_length
        self._relative_validation, self._replicas = relative_validation, replicas
        self._function = loops.compiled_if(with_xla and optimizee.compiles)
        self.train = loops.in_graph(self._train)
        self.train_mixture = loops.in_graph(self._train_mixture)
        self.imitate = loops.in_graph(self._imitate)
        self.interleave = loops.in_graph(self._interleave)
        self.validate = loops.in_graph(self._validate)
        self.validate_together = loops.in_graph(self._validate_together)

    def initial_state(self, weights: Weights) -> MetaState:
        """The state before the first epoch."""
        values = list(weights.values())
        return MetaState(
            weights,
            self._meta_optimizer.init(values),
            self._meta_optimizer.init(values),
            tf.constant(0),
            self._first_kept_state(weights) if self._plan.keep_state else (),
        )

    def _first_kept_state(self, weights: Weights) -> State:
        return unrolls.start(
            self._optimizee, self._rule, seeds.make_seed(0, "kept state"), weights
        ).rule_state

    def _train(self, meta: MetaState, seed: seeds.Seed, num_unrolls: tf.Tensor) -> Epoch:
        """One epoch of normal meta-training from the trajectory `seed` (int32 [2])."""
        num_unrolls = self._plan.num_unrolls(seed, num_unrolls)
        start, step = self._normal_steps(self._rule, meta, seed, num_unrolls, self._plan.keep_state)

        def keep(meta, carries):
            (carry,) = carries  # Of the one trajectory that a kept state allows.
            return meta._replace(rule_state=carry.rule_state)

        return self._run(step, meta, start, num_unrolls, keep if self._plan.keep_state else None)

    def _train_mixture(
        self, meta: MetaState, seed: seeds.Seed, num_unrolls: tf.Tensor, share: tf.Tensor
    ) -> Epoch:
        """One epoch of which a `share` of the steps, a float scalar, is analytical rules'."""

        if self._mixture is None:
            raise ValueError("there is no mixture to train with")
        num_unrolls = self._plan.num_unrolls(seed, num_unrolls)
        mixture = self._mixture.with_share(share)
        start, step = self._normal_steps(mixture, meta, seed, num_unrolls)
        return self._run(step, meta, start, num_unrolls)

    def _imitate(self, meta: MetaState, seed: seeds.Seed, num_unrolls: tf.Tensor) -> Epoch:
        """One epoch of imitation of a teacher's trajectory from `seed`."""
        start, step = self._imitation_steps(meta, seed)
        return self._run(step, meta, start, num_unrolls)

    def _interleave(
        self, meta: MetaState, seed: seeds.Seed, num_unrolls: tf.Tensor, r: tf.Tensor
    ) -> Epoch:
        """One epoch in which every unroll is imitation with probability `r`, a float scalar.

        The student's and the teacher's trajectories each stand still during the other's unrolls.
        """
        own, normal_step = self._normal_steps(self._rule, meta, seed, num_unrolls)
        taught, imitation_step = self._imitation_steps(meta, seed)

        def step(meta, carry, k):
            own, taught = carry

            def imitate():
                after, moved, metrics = imitation_step(meta, taught, k)
                return after, (own, moved), metrics

            def train():
                after, moved, metrics = normal_step(meta, own, k)
                return after, (moved, taught), metrics

            choice = seeds.uniform(seeds.fold(seed, seeds.Stream.CHOICES, k), [])
            return tf.cond(choice < r, imitate, train)

        return self._run(step, meta, (own, taught), num_unrolls)

    def _run(self, meta_step, meta: MetaState, carry, num_unrolls: tf.Tensor, keep=None) -> Epoch:
        def step(state, k):
            meta, carry, metrics = meta_step(*state, k)
            return (meta, carry), metrics

        (meta, carry), metrics = loops.scan(step, (meta, carry), num_unrolls, _METRICS)
        return Epoch(meta if keep is None else keep(meta, carry), *metrics)

    def _normal_steps(self, rule, meta, seed, num_unrolls, kept=False):
        """What the first unrolls start from, and meta-step number k as a function."""
        estimator, plan = self._estimator, self._plan

        def begin(own_seed, weights):
            start = unrolls.start(self._optimizee, rule, own_seed, weights)
            if kept:
                start = start._replace(rule_state=meta.rule_state)
            initial_loss = plan.initial_loss(rule, self._optimizee, own_seed, start)
            return (own_seed, start.params, initial_loss), estimator.start(start, weights)

        def estimate(own, weights, k, num_unrolls, num_steps):
            (own_seed, first_params, initial_loss), carry = own
            learned_start = None
            if not kept:
                learned_start = first_state(rule, first_params, unrolls.rule_seed(own_seed), k)
            segment = plan.segment(
                rule,
                self._optimizee,
                own_seed,
                k,
                num_unrolls,
                initial_loss,
                learned_start,
                num_steps,
            )
            estimate = estimator.step(
                segment, carry, weights, seeds.fold(own_seed, seeds.Stream.ESTIMATOR, k)
            )
            reported = plan.objective.report(estimate.objective, estimate.taken)
            return (estimate.gradient, reported), estimate.end

        begun = self._replicas.each(begin, self._replicas.seeds(seed), meta.weights)
        beginnings, carries = zip(*begun)
        meta_step = self._meta_steps(estimate, False, estimator.compiles_itself(rule))

        def step(meta, carries, k):
            num_steps = plan.num_steps(seed, k)
            own = tuple(zip(beginnings, carries))
            meta, carries, metrics = meta_step(meta, own, k, num_unrolls, num_steps)
            planned = plan.max_steps if num_steps is None else num_steps
            return meta, carries, (*metrics, tf.constant(0), tf.convert_to_tensor(planned))

        return carries, step

    def _imitation_steps(self, meta, seed):
        """Like `_normal_steps`, for the teacher's trajectory and the student's state on it."""
        num_batches = self._unroll_length * self._steps_per_label

        @self._function
        def teach(own_seed, trajectory, first_batch):
            return imitation.teach(
                self._teacher,
                self._optimizee,
                trajectory,
                unrolls.random_batches(self._optimizee, own_seed, first_batch),
                self._unroll_length,
                self._steps_per_label,
            )

        def begin(own_seed, weights):
            start = unrolls.start(self._optimizee, self._teacher, own_seed)
            student_seed = seeds.fold(own_seed, seeds.Stream.STUDENT)
            return start, self._rule.init(start.params, student_seed, weights)

        def estimate(own, weights, k):
            own_seed, (trajectory, state) = own
            lesson = teach(own_seed, trajectory, k * num_batches)
            student_seed = seeds.fold(own_seed, seeds.Stream.STUDENT)
            losses, gradient, state = imitation.imitation_gradient(
                self._rule,
                state,
                lesson,
                weights,
                self._plan.objective,
                first_state(self._rule, trajectory.params, student_seed, k),
            )
            return (gradient, tf.reduce_mean(losses)), (lesson.end, state)

        own_seeds = self._replicas.seeds(seed)
        meta_step = self._meta_steps(estimate, True, self._rule.differentiator is not None)

        def step(meta, carries, k):
            meta, carries, metrics = meta_step(meta, tuple(zip(own_seeds, carries)), k)
            return meta, carries, (*metrics, tf.constant(1), tf.constant(self._unroll_length))

        return self._replicas.each(begin, own_seeds, meta.weights), step

    def _meta_steps(self, estimate, imitates: bool, compiles_itself: bool):
        """The meta-step from what `estimate` finds out of each trajectory.

        Args:
            estimate: maps what a trajectory has for itself, the weights and what all are given to
                the pair (gradient, loss) and where the trajectory stands afterwards.
            imitates: whether the loss is that of imitation.
            compiles_itself: whether to leave the compilation of `estimate` to itself.

        Returns:
            A function of the state, what each trajectory has for itself and what all are given. It
            returns the state, where each trajectory stands, and the loss and the gradient's norm.
        """
        replicas = self._replicas

        def apply(meta, gradient):
            return self._apply(meta, gradient, imitates)

        def meta_step(meta, own, *shared):
            estimates = replicas.each(estimate, own, meta.weights, *shared)
            means, ends = zip(*estimates)
            gradient, loss = replicas.mean(means)
            meta, norm = apply(meta, gradient)
            return meta, ends, (loss, norm)

        compiled = loops.in_graph if compiles_itself else self._function
        if not replicas.is_single:
            # XLA takes no exchange between replicas, and several trajectories share the code.
            estimate, apply = compiled(estimate), self._function(apply)
            return meta_step
        return meta_step if compiles_itself else compiled(meta_step)

    def _validate(self, weights: Weights, seed: seeds.Seed, num_unrolls: tf.Tensor) -> Validation:
        """Runs the rule from `seed` without meta-steps."""
        return validation.validate(
            self._rule,
            self._optimizee,
            weights,
            seed,
            num_unrolls,
            self._plan,
            self._relative_validation,
            self._function,
        )

    def _validate_together(
        self, weights: Weights, seed: seeds.Seed, first: tf.Tensor, num_unrolls: tf.Tensor
    ) -> Validation:
        """Validations number `first` on of `seed`, one by each replica, stacked."""

        def validate(number):
            return self._validate(weights, seeds.fold(seed, number), num_unrolls)

        return self._replicas.stacked(validate, first)

    def _apply(self, meta: MetaState, gradient: Weights, imitates: bool):
        norm = tf.linalg.global_norm([gradient[name] for name in meta.weights])
        return self.meta_step(meta, gradient, imitates), norm

    def meta_step(self, meta: MetaState, gradient: Weights, imitates: bool) -> MetaState:
        """One meta-step; a non-finite gradient changes nothing but the count of such steps.

        Args:
            meta: the state before it.
            gradient: the gradient by name.
            imitates: whether it is that of the imitation loss.
        """
        names = list(meta.weights)
        grads = [gradient[name] for name in names]
        values = [meta.weights[name] for name in names]
        own = imitates and not self._shares_meta_optimizer
        state = meta.imitation_optimizer if own else meta.meta_loss_optimizer
        updates, state = self._meta_optimizer.update(grads, state, values)
        after = meta._replace(weights={n: v + u for n, v, u in zip(names, values, updates)})
        if own:
            after = after._replace(imitation_optimizer=state)
        else:
            after = after._replace(meta_loss_optimizer=state)
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
        return kept._replace(skipped=skipped)
