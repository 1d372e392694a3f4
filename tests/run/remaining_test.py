"""How much is left of a training, in closed form."""

import dataclasses
import math
import types

import pytest

from l2o_tf.run import display, remaining
from l2o_tf.training import curriculum
from l2o_tf.training.curriculum import Phase, State

STAGES = curriculum.Schedule((100, 200), (200, 300), period_epochs=10, min_periods=3)
TOGETHER = curriculum.Schedule((100,), (100,), 10, math.inf, max_steps=2450, trajectories=2)
FIXED = curriculum.Schedule((100,), (100,), 10, math.inf, max_epochs=25)
BUDGET = curriculum.Schedule((100,), (100,), 10, math.inf, max_steps=2450)


@pytest.mark.parametrize(
    "schedule, state, train, validate",
    [
        # Three periods of ten epochs in each stage, and the baseline of the second.
        (STAGES, State(), 3 * 10 * 100 + 3 * 10 * 200, 3 * 200 + 300 + 3 * 300),
        (STAGES, State(stage=1, periods=2, period_epoch=4), 6 * 200, 300),
        (STAGES, State(stage=1, periods=7, phase=Phase.VALIDATION), 0, 300),
        (STAGES, State(stage=1, periods=7, phase=Phase.FINISHED), 0, 0),
        (FIXED, State(), 25 * 100, 3 * 100),
        (FIXED, State(epoch=12, period_epoch=2), 13 * 100, 2 * 100),
        (BUDGET, State(), 25 * 100, 3 * 100),
        # Two trajectories of 13 epochs are 2,600 steps.
        (TOGETHER, State(), 13 * 100, 2 * 100),
        (BUDGET, State(epoch=20, steps=2000), 5 * 100, 100),
    ],
)
def test_the_least_work(schedule, state, train, validate):
    assert remaining.least(schedule, state) == (train, validate)


def test_the_most_work():
    assert remaining.most(STAGES, State()) is None
    assert remaining.most(FIXED, State()) == remaining.least(FIXED, State())
    # The first stage takes its minimum, the second one all that is left.
    limited = curriculum.Schedule((100, 200), (200, 300), 10, 3, max_epochs=100)
    expected = (30 * 100 + 70 * 200, 3 * 200 + 300 + 7 * 300)
    assert remaining.most(limited, State()) == expected


def one_by_one(schedule, state, goes_on):
    """The same, every epoch and every validation."""
    train = validate = 0
    while state.phase is not Phase.FINISHED:
        state = dataclasses.replace(state, best_loss=0.0, improved=True)
        last = goes_on and state.stage == len(schedule.train_steps) - 1
        if state.phase is Phase.EPOCH:
            train += schedule.train_steps[state.stage]
            state = curriculum.after_epoch(schedule, state, schedule.train_steps[state.stage])
            continue
        validate += schedule.validation_steps[state.stage]
        if state.phase is Phase.BASELINE:
            state = curriculum.after_baseline(state, 0.0)
        else:
            state, _ = curriculum.after_validation(schedule, state, -1.0 if last else 1.0)
    return train, validate


@pytest.mark.parametrize("stages, min_periods", [(1, math.inf), (1, 4), (2, 1), (2, 5), (3, 2)])
@pytest.mark.parametrize("max_epochs", [2**31, 1, 7, 10, 30, 59, 60, 61, 200])
@pytest.mark.parametrize("max_steps", [1, 3000, 6001, 29999])
def test_periods_at_once_are_periods_one_by_one(stages, min_periods, max_epochs, max_steps):
    steps = (100, 200, 300)[:stages]
    schedule = curriculum.Schedule(steps, steps, 10, min_periods, max_epochs, max_steps)
    for state in (State(), State(epoch=3, period_epoch=3), State(epoch=20, periods=2, steps=2000)):
        least, most = remaining.least(schedule, state), remaining.most(schedule, state)
        assert least == one_by_one(schedule, state, False)
        assert most == one_by_one(schedule, state, True)


def test_a_training_without_end_in_sight_takes_no_time_to_look_at():
    schedule = curriculum.Schedule((10,), (20,), 1, math.inf, max_epochs=2**31 - 1)
    epochs = 2**31 - 1
    assert remaining.least(schedule, State()) == (10 * epochs, 20 * epochs)
    assert remaining.most(schedule, State()) == (10 * epochs, 20 * epochs)


def epoch(num_steps=100):
    made = object.__new__(remaining.trainer.EpochDone)
    made.__dict__["num_steps"] = num_steps
    return made


def test_the_pace_leaves_compilations_out():
    pace = remaining.Pace()
    pace.add(epoch(), 30.0)
    assert pace.seconds(remaining.Work(1000, 0)) is None  # It was compiled: nothing is known yet.
    for seconds in (1.0, 40.0, 1.0, 1.0, 1.0):  # Another optimizee was compiled.
        pace.add(epoch(), seconds)
    assert pace.seconds(remaining.Work(1000, 0)) == pytest.approx(10.0)
    validation = types.SimpleNamespace(num_steps=200)
    for seconds in (9.0, 4.0):
        pace.add(validation, seconds)
    assert pace.seconds(remaining.Work(1000, 300)) == pytest.approx(10.0 + 6.0)


def test_a_resumed_run_knows_its_pace_at_once():
    pace = remaining.Pace({"train": 0.01, "validate": 0.02})
    assert display.time_left(FIXED, State(), pace) == ", 00:31 left"
    assert display.time_left(STAGES, State(), pace) == ", at least 02:06 left"
    assert display.time_left(FIXED, State(), remaining.Pace()) == ""
    again = remaining.Pace(pace.to_json())
    again.add(epoch(), 100.0)  # Compiled anew.
    assert again.seconds(remaining.Work(100, 0)) == pytest.approx(1.0)


def test_a_limited_curriculum_has_two_bounds():
    limited = curriculum.Schedule((100, 200), (200, 300), 10, 3, max_epochs=100)
    pace = remaining.Pace({"train": 0.01, "validate": 0.0})
    assert display.time_left(limited, State(), pace) == ", 01:30 to 02:50 left"
