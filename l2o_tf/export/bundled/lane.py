"""One lane: where a training run stands in its schedule, and what came of it.

The decisions are those of l2o_tf's `Trainer`: `curriculum` is the very file of the package.
"""

import collections
import dataclasses
import math
from typing import Any

import curriculum
import numpy as np
import philox

Weights = dict[str, np.ndarray]
Row = dict[str, Any]  # A line of metrics.csv, by column.


def schedule_from_json(values: dict) -> curriculum.Schedule:
    """A schedule whose infinite numbers are null in JSON."""
    infinite = {name: math.inf if value is None else value for name, value in values.items()}
    steps = {name: tuple(values[name]) for name in ("train_steps", "validation_steps")}
    return curriculum.Schedule(**{**infinite, **steps})


@dataclasses.dataclass(frozen=True)
class Unroll:
    """What a lane does in a call of the program of training."""

    seed: philox.Seed
    number: int
    imitates: bool
    ends: bool


class Lane:
    """The schedule of one run, and the results as far as they have come from the device.

    Attributes:
        index: the number of the lane.
        state: where training stands in its schedule, counting what was given to the device.
        best: the weights that would be exported now.
        stages: for each stage with a best rule, its weights and what its card says.
        snapshots: the validated weights by epoch.
        rows: the lines of metrics.csv.
    """

    def __init__(self, index: int, recipe: dict, initial: Weights):
        """Starts a run.

        Args:
            index: the number of the lane.
            recipe: JSON values that say how to train.
            initial: the initial weights.
        """
        self.index, self.recipe = index, recipe
        self.schedule = schedule_from_json(recipe["schedule"])
        self.unroll_length = recipe["unroll_length"]
        self.state = curriculum.State()
        self.num_events = 0
        self.best = initial
        self.stages: dict[int, tuple[Weights, dict]] = {}
        self.snapshots: dict[int, Weights] = {}
        self.rows: list[Row] = []
        self._unrolls: collections.deque[Unroll] = collections.deque()
        # Of epochs whose last numbers have not come from the device: the first part of the line.
        self._pending: collections.deque[Row] = collections.deque()
        self._numbers: list[tuple[float, float]] = []

    @property
    def phase(self) -> curriculum.Phase:
        """What comes next."""
        return self.state.phase

    @property
    def inside_epoch(self) -> bool:
        """Whether an epoch has begun and has not ended."""
        return bool(self._unrolls) and self._unrolls[0].number > 0

    @property
    def trains(self) -> bool:
        """Whether there is an unroll to train."""
        return bool(self._unrolls) or self.phase is curriculum.Phase.EPOCH

    @property
    def average_factors(self) -> tuple[float, float]:
        """The factors of the average and of the weights in the next average of weights."""
        decay = self.recipe["weight_average"]
        return decay, 1 - decay

    def next_unroll(self) -> Unroll:
        """What comes next in an epoch; the schedule goes on with its last unroll."""
        if not self._unrolls:
            self._begin_epoch()
        unroll = self._unrolls.popleft()
        if unroll.ends:
            self._end_epoch()
        return unroll

    def _begin_epoch(self) -> None:
        epoch = self.state.epoch
        count = self.schedule.train_steps[self.state.stage] // self.unroll_length
        seed, imitates = self._seed("epoch", epoch), self._imitates()
        self._unrolls.extend(Unroll(seed, k, imitates, k + 1 == count) for k in range(count))

    def _imitates(self) -> bool:
        rates = self.recipe["imitation_r"]
        rate = np.float32(rates[min(self.state.stage, len(rates) - 1)])
        return np.float32(philox.uniform(self._seed("imitation", self.state.epoch))) < rate

    def _end_epoch(self) -> None:
        stage, num_steps = self.state.stage, self.schedule.train_steps[self.state.stage]
        kind = "imitation" if self._imitates() else "meta_loss"
        self.state = curriculum.after_epoch(self.schedule, self.state, num_steps)
        self.num_events += 1
        self._pending.append(self._row(kind, stage, num_steps))

    def _row(self, kind: str, stage: int, num_steps: int) -> Row:
        """The first columns of an event that has just been."""
        return {
            "event": self.num_events,
            "kind": kind,
            "epoch": self.state.epoch,
            "stage": stage,
            "num_steps": num_steps,
        }

    def record(self, unroll: Unroll, loss: float, norm: float, skipped: float) -> None:
        """Takes the numbers of the oldest unroll whose numbers have not come from the device."""
        if unroll.number == 0:
            self._numbers = []
        self._numbers.append((loss, norm))
        if unroll.ends:
            losses, norms = np.array(self._numbers, np.float32).T.copy()
            numbers = {
                "loss": f"{losses.mean():.9g}",
                "last_loss": f"{losses[-1]:.9g}",
                "gradient_norm": f"{norms.mean():.9g}",
                "skipped_meta_steps": int(skipped),
            }
            self.rows.append({**self._pending.popleft(), **numbers})

    @property
    def validation_unrolls(self) -> int:
        """Unrolls of each trajectory of the validation that is due."""
        return self.schedule.validation_steps[self.state.stage] // self.unroll_length

    def validation_seeds(self) -> list[philox.Seed]:
        """The seeds of its trajectories."""
        seed = self._seed("validation", self.num_events)
        return [philox.fold(seed, i) for i in range(self.recipe["validation_epochs"])]

    def validated(self, scores: np.ndarray, weights: Weights, skipped: int) -> Weights | None:
        """Decides what follows from a validation.

        Args:
            scores: float32 [validation_epochs], the means of the last unrolls' losses.
            weights: the weights that were validated.
            skipped: meta-steps that were skipped so far.

        Returns:
            The weights to go on with, where they are others.
        """
        loss, before, decision = float(np.mean(scores)), self.state, None
        restored = None
        if before.phase is curriculum.Phase.BASELINE:
            self.state = curriculum.after_baseline(before, loss)
        else:
            self.state, decision = curriculum.after_validation(self.schedule, before, loss)
            if decision is curriculum.Decision.KEEP:
                self._keep(weights, loss, before.stage)
            elif decision is curriculum.Decision.ADVANCE:
                restored = self.best
            if decision is not curriculum.Decision.ADVANCE:
                self.snapshots[self.state.epoch] = weights
        self.num_events += 1
        steps = self.schedule.validation_steps[before.stage]
        numbers = {
            "loss": f"{loss:.9g}",
            "last_loss": f"{scores.mean():.9g}",
            "skipped_meta_steps": skipped,
            "decision": "" if decision is None else decision.value,
        }
        self.rows.append({**self._row(before.phase.value, before.stage, steps), **numbers})
        return restored

    def _keep(self, weights: Weights, loss: float, stage: int) -> None:
        self.best = weights
        card = {
            "epoch": self.state.epoch,
            "stage": stage,
            "validation_steps": self.schedule.validation_steps[stage],
            "validation_loss": loss,
        }
        self.stages[stage] = (weights, card)

    def _seed(self, purpose: str, index: int) -> philox.Seed:
        return philox.fold(philox.make_seed(self.recipe["seed"], purpose), index)

    # Checkpoints.

    def to_json(self) -> dict[str, Any]:
        """Where the run stands between epochs, or before the epoch that it is in."""
        return {
            "schedule": self.state.to_json(),
            "num_events": self.num_events,
            "cards": {str(stage): card for stage, (_, card) in self.stages.items()},
        }

    def restore(self, values: dict, snapshots: dict[int, Weights], rows: list[Row]) -> None:
        """Goes on from where a run stood.

        Args:
            values: what `to_json` returned.
            snapshots: the validated weights by epoch, those of later epochs too.
            rows: the lines of metrics.csv, those of later events too.
        """
        self.state = curriculum.State.from_json(values["schedule"])
        self.num_events = values["num_events"]
        self.rows = [row for row in rows if int(row["event"]) <= self.num_events]
        # The epoch that a validation is due for has no snapshot yet.
        last = self.state.epoch - (self.phase is curriculum.Phase.VALIDATION)
        self.snapshots = {epoch: w for epoch, w in snapshots.items() if epoch <= last}
        # The best weights of a stage are among them: all that is kept is a snapshot as well.
        self.stages = {
            int(stage): (self.snapshots[card["epoch"]], card)
            for stage, card in values["cards"].items()
        }
        if self.stages:
            self.best, _ = self.stages[max(self.stages)]
