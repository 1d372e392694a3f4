"""Algorithm 1 of the paper as a pure state machine over validation losses.

A schedule without a curriculum is a curriculum of one stage that only ends with the last epoch,
so this is the only place that decides what happens next in a meta-training.
"""

import dataclasses
import enum
import math


class Phase(enum.Enum):
    """What the trainer has to do next."""

    EPOCH = "epoch"  # Train one epoch of N_train steps.
    VALIDATION = "validation"  # Measure the current rule over N_valid steps.
    BASELINE = "baseline"  # Measure the restored rule over the new stage's N_valid steps.
    FINISHED = "finished"


class Decision(enum.Enum):
    """What a validation means for the rule's weights."""

    KEEP = "new best"  # The current weights are the best of the stage.
    CONTINUE = "no improvement"
    ADVANCE = "next stage"  # Restore the best weights and go to the next stage.
    STOP = "stop"  # Training is over; the best weights are exported.


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The parameters of Algorithm 1.

    Attributes:
        train_steps: N_train of each stage, optimizee steps per epoch.
        validation_steps: N_valid of each stage.
        period_epochs: T_period, epochs between two validations.
        min_periods: N_period, periods that every stage gets; infinite without a curriculum.
        max_epochs: epochs in all, after which training ends wherever it is; infinite for none.
        max_steps: the same for optimizee steps of training, validations not counted.
        trajectories: trajectories per epoch, the steps of each of which count.
    """

    train_steps: tuple[int, ...]
    validation_steps: tuple[int, ...]
    period_epochs: int
    min_periods: float
    max_epochs: float = math.inf
    max_steps: float = math.inf
    trajectories: int = 1

    def is_used_up(self, state: "State") -> bool:
        """Whether training ends with the validation that follows."""
        return state.epoch >= self.max_epochs or state.steps >= self.max_steps


@dataclasses.dataclass(frozen=True)
class State:
    """Where training stands in a schedule.

    Attributes:
        phase: what comes next.
        stage: index i of the curriculum stage.
        epoch: epochs trained in all.
        steps: optimizee steps trained in all.
        period_epoch: epochs trained since the last validation.
        periods: validations of this stage so far, the baseline not counted.
        best_loss: L_min, the lowest validation loss of this stage; infinite before the first.
        improved: whether a period of this stage was better than L_min at the stage's start.
        reason: why training finished; empty before.
    """

    phase: Phase = Phase.EPOCH
    stage: int = 0
    epoch: int = 0
    steps: int = 0
    period_epoch: int = 0
    periods: int = 0
    best_loss: float = math.inf
    improved: bool = False
    reason: str = ""

    def to_json(self) -> dict:
        """A dictionary of JSON values; an infinite best loss becomes null."""
        values = dataclasses.asdict(self)
        values["phase"] = self.phase.value
        values["best_loss"] = None if math.isinf(self.best_loss) else self.best_loss
        return values

    @classmethod
    def from_json(cls, values: dict) -> "State":
        """The inverse of `to_json`."""
        best_loss = math.inf if values["best_loss"] is None else values["best_loss"]
        return cls(**{**values, "phase": Phase(values["phase"]), "best_loss": best_loss})


def after_epoch(schedule: Schedule, state: State, num_steps: int) -> State:
    """The state after one more epoch: a period ends after T_period epochs or the last epoch.

    Args:
        schedule: the schedule.
        state: the state before.
        num_steps: optimizee steps of each trajectory, N_train unless lengths are random.
    """
    state = dataclasses.replace(
        state,
        epoch=state.epoch + 1,
        steps=state.steps + num_steps * schedule.trajectories,
        period_epoch=state.period_epoch + 1,
    )
    if state.period_epoch < schedule.period_epochs and not schedule.is_used_up(state):
        return state
    return dataclasses.replace(state, phase=Phase.VALIDATION, period_epoch=0)


def after_validation(schedule: Schedule, state: State, loss: float) -> tuple[State, Decision]:
    """The state after the validation that ends a period.

    A stage goes on while its periods are fewer than N_period or the last one was the best; it
    then ends with its best rule, or ends the training if no period beat the stage's baseline. A
    loss that is not finite is never better.
    """
    is_best = math.isfinite(loss) and loss < state.best_loss
    state = dataclasses.replace(
        state,
        phase=Phase.EPOCH,
        periods=state.periods + 1,
        best_loss=loss if is_best else state.best_loss,
        improved=state.improved or is_best,
    )
    if schedule.is_used_up(state):
        decision = Decision.KEEP if is_best else Decision.STOP
        all_epochs = state.epoch >= schedule.max_epochs
        amount = f"{state.epoch} epochs" if all_epochs else f"{state.steps} steps"
        return _finished(state, f"all {amount} are done"), decision
    if is_best:
        return state, Decision.KEEP
    if state.periods < schedule.min_periods:
        return state, Decision.CONTINUE
    if not state.improved:
        reason = f"no period of stage {state.stage} was better than its baseline"
        return _finished(state, reason), Decision.STOP
    if state.stage + 1 == len(schedule.train_steps):
        return _finished(state, "the last stage is done"), Decision.STOP
    advanced = State(Phase.BASELINE, state.stage + 1, state.epoch, state.steps)
    return advanced, Decision.ADVANCE


def after_baseline(state: State, loss: float) -> State:
    """The state after the restored rule was measured with the new stage's N_valid."""
    best_loss = loss if math.isfinite(loss) else math.inf
    return dataclasses.replace(state, phase=Phase.EPOCH, best_loss=best_loss)


def default_validation_steps(train_steps: tuple[int, ...]) -> tuple[int, ...]:
    """N_valid of a stage is N_train of the next one (paper section 3.2).

    The last stage has no next one: its N_valid grows by the same amount as its N_train did. (The
    legacy code fails with an IndexError there.)
    """
    if len(train_steps) == 1:
        return train_steps
    return (*train_steps[1:], 2 * train_steps[-1] - train_steps[-2])


def _finished(state: State, reason: str) -> State:
    return dataclasses.replace(state, phase=Phase.FINISHED, reason=reason)
