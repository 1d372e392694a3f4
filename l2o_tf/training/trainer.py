"""Meta-training as a stream of events: what was done, and where training stands afterwards.

The trainer draws nothing but from (seed, purpose, epoch), and an event's `progress` is all that
is needed to go on from there: whoever consumes the events decides what to show and to save.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from l2o_tf.core import seeds
from l2o_tf.optimizees.base import Optimizee
from l2o_tf.rules.base import UpdateRule, Weights
from l2o_tf.rules.mixture import PerStep
from l2o_tf.training import curriculum, epochs, self_improving, validation
from l2o_tf.training.plan import Plan
from l2o_tf.training.replicas import Replicas

# Beyond so many optimizees XLA does not pay: an epoch of L2O-Scale takes it 12 s longer to compile
# and saves half a second, and holds a thousand of the 65,530 memory maps of a process for good.
_MAX_COMPILED = 10


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        schedule: stages, validations and the end of training.
        imitation_r: probability that an epoch is imitation, per stage; the last one goes on for
            further stages (Algorithm 2 of the paper).
        imitation_per_unroll: whether r is the probability of each unroll, not of each epoch.
        self_improving_epochs: epochs over which analytical rules take fewer and fewer steps.
        self_improving_share: the probability with which they take a step of the first epoch; by
            default all rules, the learned one among them, are equally likely.
        validation_epochs: trajectories per validation.
        validate_final_minibatch: whether the loss of a validation trajectory is that after the
            last step, on one minibatch or the plan's scoring examples as in the legacy code, not
            the last unroll's mean.
        weight_average: d of the moving average of the rule's weights over epochs, w' = d w' +
            (1 - d) w, that is validated and exported; 0 for the weights themselves.
        seed: the run's seed.
    """

    schedule: curriculum.Schedule
    imitation_r: tuple[float, ...] = (0.0,)
    imitation_per_unroll: bool = False
    self_improving_epochs: int = 0
    self_improving_share: float | None = None
    validation_epochs: int = 20
    validate_final_minibatch: bool = False
    weight_average: float = 0.0
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
        validated: the weights that are validated, and exported if they are the best: the moving
            average, or the newest weights if there is no averaging.
        best: the weights that would be exported now.
        schedule: where training stands in its schedule.
        num_events: events so far.
    """

    meta: epochs.MetaState
    validated: Weights
    best: Weights
    schedule: curriculum.State
    num_events: int


@dataclasses.dataclass(frozen=True)
class EpochDone:
    """One epoch of training.

    Attributes:
        progress: where training stands.
        kind: "meta_loss", "imitation", "self_improving", or "interleaved" where each unroll is
            either of the first two.
        stage: the curriculum stage.
        num_steps: optimizee steps of the epoch.
        losses: [num_unrolls], as of `epochs.Epoch`.
        gradient_norms: [num_unrolls], likewise.
        is_imitation: bool [num_unrolls], whether the loss is the imitation loss.
        analytical_share: the probability with which analytical rules took the steps.
        optimizee: which of the trainer's optimizees it was, counted from 0.
    """

    progress: Progress
    kind: str
    stage: int
    num_steps: int
    losses: np.ndarray
    gradient_norms: np.ndarray
    is_imitation: np.ndarray
    analytical_share: float = 0.0
    optimizee: int = 0

    def by_loss(self) -> dict[str, np.ndarray]:
        """Which unrolls have which loss: bool [num_unrolls] by kind, without empty ones."""
        if self.kind != "interleaved":
            return {self.kind: np.ones_like(self.is_imitation)}
        kinds = {"meta_loss": ~self.is_imitation, "imitation": self.is_imitation}
        return {kind: unrolls for kind, unrolls in kinds.items() if unrolls.any()}

    @property
    def main_losses(self) -> np.ndarray:
        """The losses of the unrolls of one kind, meta-losses if there are any: [<= num_unrolls]."""
        return self.losses[next(iter(self.by_loss().values()))]


@dataclasses.dataclass(frozen=True)
class ValidationDone:
    """One validation.

    Attributes:
        progress: where training stands.
        kind: "validation" or "baseline".
        stage: the curriculum stage that was validated.
        num_steps: optimizee steps of each trajectory, N_valid.
        losses: [validation_epochs, num_unrolls], the mean loss of each unroll.
        loss: the mean of `by_optimizee`.
        decision: what follows from it; None for a baseline.
        update_sizes: [num_unrolls, num_measured], see `validation.Validation`, of one trajectory.
        by_optimizee: for each optimizee that is validated on, the mean over its trajectories of
            the last unroll's loss, or of a final minibatch's.
    """

    progress: Progress
    kind: str
    stage: int
    num_steps: int
    losses: np.ndarray
    loss: float
    decision: curriculum.Decision | None
    update_sizes: np.ndarray
    by_optimizee: tuple[float, ...] = ()


Event = EpochDone | ValidationDone


class Observer(Protocol):
    """What is told of every event of a training, in order: metrics, TensorBoard, a display."""

    def add(self, event: Event) -> None:
        """Takes the next event."""

    def close(self) -> None:
        """Ends what the events were told to; nothing comes after it."""


Watch = Callable[[int, int], None]


class Trainer:
    """Trains a rule on one or several optimizees, one of which is drawn for each epoch."""

    def __init__(
        self,
        rule: UpdateRule,
        optimizees: Sequence[Optimizee],
        meta_optimizer: UpdateRule,
        recipe: Recipe,
        teacher: UpdateRule | None = None,
        mixture: PerStep | None = None,
        validation_optimizees: Sequence[Optimizee] = (),
        plan: Plan = Plan(),
        optimizee_weights: Sequence[float] = (),
        replicas: Replicas = Replicas(),
        **epoch_options: Any,
    ):
        """Prepares training.

        Args:
            rule: the rule to train; its variables are read once and never changed.
            optimizees: what to train on.
            meta_optimizer: the rule that changes the rule's weights.
            recipe: how to train.
            teacher: the rule to imitate.
            mixture: the rule mixed with analytical ones, for self-improving.
            validation_optimizees: what to validate on, in turn; by default the first optimizee.
                Of several the natural logarithms of relative losses count, see `Epochs`, and each
                counts alike, however often it is drawn in training.
            plan: see `epochs.Epochs`.
            optimizee_weights: how often each optimizee is drawn, up to a factor; by default equally
                often.
            replicas: the trajectories of a meta-step, and who runs them.
            **epoch_options: see `epochs.Epochs`.
        """
        self._rule, self._recipe, self._mixture = rule, recipe, mixture
        self._plan, self._replicas = plan, replicas
        self._optimizee_shares = np.cumsum(optimizee_weights) / np.sum(optimizee_weights)

        def prepare(optimizee):
            return epochs.Epochs(
                rule,
                optimizee,
                meta_optimizer,
                teacher,
                mixture=mixture,
                plan=plan,
                relative_validation=len(validation_optimizees) > 1,
                with_xla=len(optimizees) <= _MAX_COMPILED,
                replicas=replicas,
                **epoch_options,
            )

        prepared = {id(optimizee): prepare(optimizee) for optimizee in optimizees}
        self._epochs = list(prepared.values())
        self._validations = [
            prepared.get(id(optimizee)) or prepare(optimizee)
            for optimizee in validation_optimizees or optimizees[:1]
        ]

    def initial_progress(self) -> Progress:
        """Where training starts."""
        weights = self._rule.weights()
        meta = self._epochs[0].initial_state(weights)
        return Progress(meta, weights, weights, curriculum.State(), num_events=0)

    def run(self, progress: Progress, watch: Watch | None = None) -> Iterator[Event]:
        """Trains on from `progress` until the schedule is finished.

        Args:
            progress: where to go on from.
            watch: is told, before each trajectory of a validation, how many are done and of how
                many.
        """
        while progress.schedule.phase is not curriculum.Phase.FINISHED:
            if progress.schedule.phase is curriculum.Phase.EPOCH:
                event: Event = self._epoch(progress)
            else:
                event = self._validate(progress, watch)
            progress = event.progress
            yield event

    def _epoch(self, progress: Progress) -> EpochDone:
        state = progress.schedule
        fixed_steps = self._recipe.schedule.train_steps[state.stage]
        share = self._analytical_share(state.epoch)
        num_unrolls = fixed_steps // self._plan.unroll_length
        optimizee = self._draw_optimizee(state.epoch)
        kind, result = self._run_epoch(progress, optimizee, num_unrolls, share)
        num_steps = int(np.sum(result.num_steps))
        progress = progress._replace(
            meta=result.meta,
            validated=self._averaged(progress.validated, result.meta.weights),
            schedule=curriculum.after_epoch(self._recipe.schedule, state, num_steps),
            num_events=progress.num_events + 1,
        )
        return EpochDone(
            progress,
            kind,
            state.stage,
            num_steps,
            result.losses.numpy(),
            result.gradient_norms.numpy(),
            result.is_imitation.numpy().astype(bool),
            share if kind == "self_improving" else 0.0,
            optimizee,
        )

    def _averaged(self, average: Weights, weights: Weights) -> Weights:
        decay = self._recipe.weight_average
        if not decay:
            return weights
        return {name: decay * old + (1 - decay) * weights[name] for name, old in average.items()}

    def _run_epoch(
        self, progress: Progress, optimizee: int, num_unrolls: int, share: float
    ) -> tuple[str, epochs.Epoch]:
        state = progress.schedule
        compiled = self._epochs[optimizee]
        arguments = progress.meta, self._seed("epoch", state.epoch), tf.constant(num_unrolls)
        r = imitation_probability(self._recipe, state.stage)
        if self._recipe.imitation_per_unroll and r > 0:
            return "interleaved", compiled.interleave(*arguments, tf.constant(r))
        if self._draws_imitation(state):
            return "imitation", compiled.imitate(*arguments)
        if share > 0:
            return "self_improving", compiled.train_mixture(*arguments, tf.constant(share))
        return "meta_loss", compiled.train(*arguments)

    def _analytical_share(self, epoch: int) -> float:
        if self._mixture is None:
            return 0.0
        first = self._recipe.self_improving_share
        return self_improving.analytical_share(
            epoch,
            self._recipe.self_improving_epochs,
            self._mixture.equal_share if first is None else first,
        )

    def _validate(self, progress: Progress, watch: Watch | None) -> ValidationDone:
        state = progress.schedule
        num_steps = self._recipe.schedule.validation_steps[state.stage]
        runs = self._validation_runs(progress, num_steps, watch)
        losses = np.stack([run.losses for run in runs])
        scores: Sequence[Any] | np.ndarray = [run.final_loss for run in runs]
        if not self._recipe.validate_final_minibatch:
            scores = losses[:, -1]
        number = len(self._validations)
        by_optimizee = tuple(float(np.mean(scores[i::number])) for i in range(number))
        loss = float(np.mean(by_optimizee))
        decision = None
        if state.phase is curriculum.Phase.BASELINE:
            schedule = curriculum.after_baseline(state, loss)
        else:
            schedule, decision = curriculum.after_validation(self._recipe.schedule, state, loss)
            if decision is curriculum.Decision.KEEP:
                progress = progress._replace(best=progress.validated)
            elif decision is curriculum.Decision.ADVANCE:
                progress = _restore_best(progress)
        return ValidationDone(
            progress._replace(schedule=schedule, num_events=progress.num_events + 1),
            state.phase.value,
            state.stage,
            num_steps,
            losses,
            loss,
            decision,
            runs[0].update_sizes,
            by_optimizee,
        )

    def _validation_runs(
        self, progress: Progress, num_steps: int, watch: Watch | None
    ) -> list[validation.Validation]:
        # num_events tells validations apart: fresh trajectories each time, as in the legacy code.
        seed = self._seed("validation", progress.num_events)
        num_unrolls = tf.constant(num_steps // self._plan.unroll_length)
        runs: list[validation.Validation] = []
        # Replicas share what is the same code; of several problems each process runs all.
        shares = self._replicas.num_replicas if len(self._validations) == 1 else 1
        for i in range(0, self._recipe.validation_epochs, shares):
            if watch is not None:
                watch(i, self._recipe.validation_epochs)
            on, weights = self._validations[i % len(self._validations)], progress.validated
            if shares == 1:
                runs.append(_to_numpy(on.validate(weights, seeds.fold(seed, i), num_unrolls)))
                continue
            together = _to_numpy(on.validate_together(weights, seed, tf.constant(i), num_unrolls))
            runs += [validation.Validation(*of_one) for of_one in zip(*together)]
        return runs[: self._recipe.validation_epochs]

    def _draws_imitation(self, state: curriculum.State) -> bool:
        r = imitation_probability(self._recipe, state.stage)
        return bool(
            draws_imitation(seeds.make_seed(self._recipe.seed, "imitation"), state.epoch, r)
        )

    def _draw_optimizee(self, epoch: int) -> int:
        seed = self._seed("optimizee", epoch)
        if len(self._optimizee_shares):
            shares = self._optimizee_shares[:-1]
            return int(np.searchsorted(shares, float(seeds.uniform(seed, [])), side="right"))
        return int(seeds.uniform(seed, [], 0, len(self._epochs), tf.int32))

    def _seed(self, purpose: str, index: int) -> seeds.Seed:
        return seeds.fold(seeds.make_seed(self._recipe.seed, purpose), index)


def _restore_best(progress: Progress) -> Progress:
    meta = progress.meta._replace(weights=progress.best)
    return progress._replace(meta=meta, validated=progress.best)


def _to_numpy(run: validation.Validation) -> validation.Validation:
    return tf.nest.map_structure(lambda x: x.numpy(), run)
