"""How long a meta-training takes on: the steps that are left, and seconds per step."""

import dataclasses
import math
import statistics
from typing import NamedTuple

from l2o_tf.training import curriculum, trainer

_RECENT = 15  # Events whose median is the pace: compilations are outliers.
_TRAIN, _VALIDATE = "train", "validate"


class Work(NamedTuple):
    """Optimizee steps that are left.

    Attributes:
        train: steps of training.
        validate: steps of each validation trajectory, all validations together.
    """

    train: float
    validate: float


class Pace:
    """Seconds per optimizee step of training and of validation, without compilations."""

    def __init__(self, known: dict[str, float] | None = None):
        """Starts from what another process has measured."""
        self._known = dict(known or {})
        self._samples: dict[str, list[float]] = {}

    def add(self, event: trainer.Event, seconds: float) -> None:
        """Counts an event that took so long."""
        kind = _TRAIN if isinstance(event, trainer.EpochDone) else _VALIDATE
        samples = self._samples.setdefault(kind, [])
        samples.append(seconds / max(1, event.num_steps))
        del samples[:-_RECENT]
        # The first event of a process is compiled; so is that of each further optimizee, which
        # the median leaves out.
        if len(samples) > 1:
            self._known[kind] = statistics.median(samples[1:] if len(samples) < 4 else samples)

    def to_json(self) -> dict[str, float]:
        """What a process that goes on may start from."""
        return dict(self._known)

    def seconds(self, work: Work) -> float | None:
        """How long some work takes; None before anything is known."""
        train = self._known.get(_TRAIN)
        if train is None:
            return None
        # Before the first validation: it has no backward pass, but several trajectories.
        validate = self._known.get(_VALIDATE, train)
        return train * work.train + validate * work.validate


def least(schedule: curriculum.Schedule, state: curriculum.State) -> Work:
    """The work that is left if every stage ends as soon as it may."""
    return _walk(schedule, state, goes_on=False)


def most(schedule: curriculum.Schedule, state: curriculum.State) -> Work | None:
    """The work that is left if the last stage goes on for as long as it may; None for ever."""
    if math.isinf(schedule.max_epochs) and math.isinf(schedule.max_steps):
        return None
    return _walk(schedule, state, goes_on=True)


def _walk(schedule: curriculum.Schedule, state: curriculum.State, goes_on: bool) -> Work:
    """Follows a schedule whose validations are such that stages take their minimum of periods."""
    train, validate = 0.0, 0.0
    state = dataclasses.replace(state, best_loss=0.0, improved=True)
    last_stage = len(schedule.train_steps) - 1
    while state.phase is not curriculum.Phase.FINISHED:
        to_the_end = goes_on and state.stage == last_stage
        if state.phase is curriculum.Phase.EPOCH:
            periods = _periods_ahead(schedule, state, to_the_end)
            state, steps = _skip(schedule, state, periods)
            train += steps
            validate += periods * schedule.validation_steps[state.stage]
            state, steps = _period(schedule, state)
            train += steps
            continue
        validate += schedule.validation_steps[state.stage]
        if state.phase is curriculum.Phase.BASELINE:
            state = curriculum.after_baseline(state, 0.0)
        else:
            state, _ = curriculum.after_validation(schedule, state, -1.0 if to_the_end else 1.0)
        state = dataclasses.replace(state, best_loss=0.0, improved=True)
    return Work(train, validate)


def _periods_ahead(schedule: curriculum.Schedule, state: curriculum.State, to_the_end: bool) -> int:
    """Whole periods, each with its validation, that do not end the stage."""
    if state.period_epoch:
        return 0
    steps = schedule.train_steps[state.stage] * schedule.trajectories * schedule.period_epochs
    bounds = [
        (schedule.max_epochs - state.epoch) // schedule.period_epochs,
        (schedule.max_steps - state.steps) // steps,
        math.inf if to_the_end else schedule.min_periods - state.periods,
    ]
    # Infinities have no remainder to take: NaN.
    return max(0, int(min(bound for bound in bounds if math.isfinite(bound))) - 1)


def _skip(
    schedule: curriculum.Schedule, state: curriculum.State, periods: int
) -> tuple[curriculum.State, float]:
    epochs = periods * schedule.period_epochs
    steps = epochs * schedule.train_steps[state.stage]
    state = dataclasses.replace(
        state,
        epoch=state.epoch + epochs,
        steps=state.steps + steps * schedule.trajectories,
        periods=state.periods + periods,
    )
    return state, steps


def _period(
    schedule: curriculum.Schedule, state: curriculum.State
) -> tuple[curriculum.State, float]:
    """All epochs until the next validation at once."""
    length = schedule.train_steps[state.stage]
    counted = length * schedule.trajectories
    left = min(schedule.period_epochs - state.period_epoch, schedule.max_epochs - state.epoch)
    if math.isfinite(schedule.max_steps):
        left = min(left, math.ceil((schedule.max_steps - state.steps) / counted))
    epochs = max(1, int(left))
    state = dataclasses.replace(
        state,
        epoch=state.epoch + epochs - 1,
        steps=state.steps + (epochs - 1) * counted,
        period_epoch=state.period_epoch + epochs - 1,
    )
    return curriculum.after_epoch(schedule, state, length), epochs * length
