"""Meta-training as a stream of events: what was done, and where training stands afterwards.

The trainer draws nothing but from (seed, purpose, epoch), and an event's `progress` is all that
is needed to go on from there: whoever consumes the events decides what to show and to save.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf import seeds
from l2o_tf.optimizees.base import Optimizee
from l2o_tf.rules.base import UpdateRule, Weights
from l2o_tf.training import curriculum, epochs
from l2o_tf.training.plan import Plan


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        schedule: stages, validations and the end of training.
        unroll_length: optimizee steps per meta-step.
        imitation_r: probability that an epoch is imitation, per stage; the last one goes on for
            further stages (Algorithm 2 of the paper).
        validation_epochs: trajectories per validation.
        seed: the run's seed.
    """

    schedule: curriculum.Schedule
    unroll_length: int = 20
    imitation_r: tuple[float, ...] = (0.0,)
    validation_epochs: int = 20
    seed: int = 0


def imitation_probability(recipe: Recipe, stage: int) -> float:
    """The r of a curriculum stage."""
    return recipe.imitation_r[min(stage, len(recipe.imitation_r) - 1)]


def draws_imitation(seed: seeds.Seed, epoch: int | tf.Tensor, r: float) -> tf.Tensor:
    """Whether an epoch is imitation, a bool scalar that is true with probability r."""
    return seeds.uniform(seeds.fold(seed, epoch), []) < r


class Progress(NamedTuple):
    """All that training goes on from.

    Attributes:
        meta: weights and meta-optimizers.
        best: the weights that would be exported now.
        schedule: where training stands in its schedule.
        num_events: events so far.
    """

    meta: epochs.MetaState
    best: Weights
    schedule: curriculum.State
    num_events: int


@dataclasses.dataclass(frozen=True)
class EpochDone:
    """One epoch of training.

    Attributes:
        progress: where training stands.
        kind: "meta_loss" or "imitation".
        stage: the curriculum stage.
        num_steps: optimizee steps of the epoch.
        losses: [num_unrolls], the mean loss of each unroll.
        gradient_norms: [num_unrolls].
    """

    progress: Progress
    kind: str
    stage: int
    num_steps: int
    losses: np.ndarray
    gradient_norms: np.ndarray


@dataclasses.dataclass(frozen=True)
class ValidationDone:
    """One validation.

    Attributes:
        progress: where training stands.
        kind: "validation" or "baseline".
        stage: the curriculum stage that was validated.
        num_steps: optimizee steps of each trajectory, N_valid.
        losses: [validation_epochs, num_unrolls], the mean loss of each unroll.
        loss: the mean over trajectories of the last unroll's loss.
        decision: what follows from it; None for a baseline.
    """

    progress: Progress
    kind: str
    stage: int
    num_steps: int
    losses: np.ndarray
    loss: float
    decision: curriculum.Decision | None


Event = EpochDone | ValidationDone


class Trainer:
    """Trains a rule on one or several optimizees, one of which is drawn for each epoch."""

    def __init__(
        self,
        rule: UpdateRule,
        optimizees: Sequence[Optimizee],
        meta_optimizer: UpdateRule,
        recipe: Recipe,
        teacher: UpdateRule | None = None,
        plan: Plan = Plan(),
        **epoch_options,
    ):
        """Prepares training.

        Args:
            rule: the rule to train; its variables are read once and never changed.
            optimizees: what to train on; validation is on the first one.
            meta_optimizer: the rule that changes the rule's weights.
            recipe: how to train.
            teacher: the rule to imitate.
            plan: see `epochs.Epochs`.
            **epoch_options: see `epochs.Epochs`.
        """
        self._rule, self._recipe, self._plan = rule, recipe, plan
        self._epochs = [
            epochs.Epochs(
                rule,
                optimizee,
                meta_optimizer,
                teacher,
                unroll_length=recipe.unroll_length,
                plan=plan,
                **epoch_options,
            )
            for optimizee in optimizees
        ]

    def initial_progress(self) -> Progress:
        """Where training starts."""
        weights = self._rule.weights()
        meta = self._epochs[0].initial_state(weights)
        return Progress(meta, weights, curriculum.State(), num_events=0)

    def run(self, progress: Progress) -> Iterator[Event]:
        """Trains on from `progress` until the schedule is finished."""
        while progress.schedule.phase is not curriculum.Phase.FINISHED:
            if progress.schedule.phase is curriculum.Phase.EPOCH:
                event = self._epoch(progress)
            else:
                event = self._validation(progress)
            progress = event.progress
            yield event

    def _epoch(self, progress: Progress) -> EpochDone:
        state = progress.schedule
        fixed_steps = self._recipe.schedule.train_steps[state.stage]
        kind = "imitation" if self._draws_imitation(state) else "meta_loss"
        compiled = self._epochs[self._draw_optimizee(state.epoch)]
        run = compiled.imitate if kind == "imitation" else compiled.train
        result = run(
            progress.meta,
            seed := self._seed("epoch", state.epoch),
            tf.constant(fixed_steps // self._recipe.unroll_length),
        )
        num_steps = fixed_steps if kind == "imitation" else self._plan.num_steps(seed, fixed_steps)
        progress = progress._replace(
            meta=result.meta,
            schedule=curriculum.after_epoch(self._recipe.schedule, state),
            num_events=progress.num_events + 1,
        )
        return EpochDone(
            progress,
            kind,
            state.stage,
            num_steps,
            result.losses.numpy(),
            result.gradient_norms.numpy(),
        )

    def _validation(self, progress: Progress) -> ValidationDone:
        state = progress.schedule
        num_steps = self._recipe.schedule.validation_steps[state.stage]
        losses = self._validation_losses(progress, num_steps)
        loss = float(np.mean(losses[:, -1]))
        meta, best, decision = progress.meta, progress.best, None
        if state.phase is curriculum.Phase.BASELINE:
            schedule = curriculum.after_baseline(state, loss)
        else:
            schedule, decision = curriculum.after_validation(
                self._recipe.schedule, state, loss
            )
            if decision is curriculum.Decision.KEEP:
                best = meta.weights
            elif decision is curriculum.Decision.ADVANCE:
                meta = meta._replace(weights=best)
        progress = Progress(meta, best, schedule, progress.num_events + 1)
        return ValidationDone(
            progress, state.phase.value, state.stage, num_steps, losses, loss, decision
        )

    def _validation_losses(self, progress: Progress, num_steps: int) -> np.ndarray:
        # num_events tells validations apart: fresh trajectories each time, as in the legacy code.
        seed = self._seed("validation", progress.num_events)
        num_unrolls = tf.constant(num_steps // self._recipe.unroll_length)
        validate = self._epochs[0].validate
        return np.stack(
            [
                validate(progress.meta.weights, seeds.fold(seed, i), num_unrolls).numpy()
                for i in range(self._recipe.validation_epochs)
            ]
        )

    def _draws_imitation(self, state: curriculum.State) -> bool:
        r = imitation_probability(self._recipe, state.stage)
        return bool(draws_imitation(seeds.make_seed(self._recipe.seed, "imitation"), state.epoch, r))

    def _draw_optimizee(self, epoch: int) -> int:
        seed = self._seed("optimizee", epoch)
        return int(seeds.uniform(seed, [], 0, len(self._epochs), tf.int32))

    def _seed(self, purpose: str, index: int) -> seeds.Seed:
        return seeds.fold(seeds.make_seed(self._recipe.seed, purpose), index)
