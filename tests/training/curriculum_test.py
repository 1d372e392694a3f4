"""Every transition of Algorithm 1."""

import json
import math

import pytest

from l2o_tf.training import curriculum
from l2o_tf.training.curriculum import Decision, Phase, State

SCHEDULE = curriculum.Schedule(
    train_steps=(100, 200), validation_steps=(200, 300), period_epochs=2, min_periods=3
)
INF, NAN = math.inf, math.nan


def run(schedule, losses, state=None):
    """Feeds validation losses (baselines included); returns the states and what was done."""
    state, done = state or State(), []
    losses = iter(losses)
    while state.phase is not Phase.FINISHED:
        if state.phase is Phase.EPOCH:
            num_steps = schedule.train_steps[state.stage]
            state = curriculum.after_epoch(schedule, state, num_steps)
            done.append(f"train {num_steps}")
            continue
        loss = next(losses, None)
        if loss is None:
            break
        done.append(f"{state.phase.value} {schedule.validation_steps[state.stage]}")
        if state.phase is Phase.BASELINE:
            state = curriculum.after_baseline(state, loss)
        else:
            state, decision = curriculum.after_validation(schedule, state, loss)
            done[-1] += f": {decision.value}"
    return state, done


@pytest.mark.parametrize(
    "before, loss, decision, after",
    [
        # The first validation of the first stage is better than no baseline at all.
        (State(), 5.0, Decision.KEEP, State(periods=1, best_loss=5.0, improved=True)),
        # Fewer than three periods: the stage goes on without an improvement.
        (
            State(periods=1, best_loss=5.0, improved=True),
            6.0,
            Decision.CONTINUE,
            State(periods=2, best_loss=5.0, improved=True),
        ),
        # Equal is not better.
        (
            State(periods=0, best_loss=5.0),
            5.0,
            Decision.CONTINUE,
            State(periods=1, best_loss=5.0),
        ),
        # The third period is the best so far: the stage goes on (Lval == Lmin).
        (
            State(periods=2, best_loss=5.0, improved=True),
            4.0,
            Decision.KEEP,
            State(periods=3, best_loss=4.0, improved=True),
        ),
        # The third period is no improvement, an earlier one was: next stage, baseline first.
        (
            State(epoch=6, steps=600, periods=2, best_loss=5.0, improved=True),
            6.0,
            Decision.ADVANCE,
            State(phase=Phase.BASELINE, stage=1, epoch=6, steps=600),
        ),
        # A much later one likewise.
        (
            State(epoch=20, periods=9, best_loss=5.0, improved=True),
            6.0,
            Decision.ADVANCE,
            State(phase=Phase.BASELINE, stage=1, epoch=20),
        ),
        # No period of the stage beat the baseline: training ends.
        (
            State(stage=1, epoch=12, periods=2, best_loss=3.0),
            3.5,
            Decision.STOP,
            State(
                phase=Phase.FINISHED,
                stage=1,
                epoch=12,
                periods=3,
                best_loss=3.0,
                reason="no period of stage 1 was better than its baseline",
            ),
        ),
        # The last stage has no next one: training ends with its best rule.
        (
            State(stage=1, epoch=12, periods=2, best_loss=3.0, improved=True),
            3.5,
            Decision.STOP,
            State(
                phase=Phase.FINISHED,
                stage=1,
                epoch=12,
                periods=3,
                best_loss=3.0,
                improved=True,
                reason="the last stage is done",
            ),
        ),
        # A diverged rule is never the best.
        (State(), NAN, Decision.CONTINUE, State(periods=1)),
        (State(), INF, Decision.CONTINUE, State(periods=1)),
        (
            State(periods=2, best_loss=INF),
            NAN,
            Decision.STOP,
            State(
                phase=Phase.FINISHED,
                periods=3,
                reason="no period of stage 0 was better than its baseline",
            ),
        ),
    ],
)
def test_transition_after_a_validation(before, loss, decision, after):
    assert curriculum.after_validation(SCHEDULE, before, loss) == (after, decision)


def test_a_period_is_two_epochs():
    state = curriculum.after_epoch(SCHEDULE, State(), 100)
    assert state == State(epoch=1, steps=100, period_epoch=1)
    state = curriculum.after_epoch(SCHEDULE, state, 100)
    assert state == State(phase=Phase.VALIDATION, epoch=2, steps=200)


@pytest.mark.parametrize("loss, best_loss", [(0.5, 0.5), (NAN, INF), (INF, INF)])
def test_a_baseline_sets_the_loss_to_beat(loss, best_loss):
    before = State(phase=Phase.BASELINE, stage=1, epoch=6)
    assert curriculum.after_baseline(before, loss) == State(stage=1, epoch=6, best_loss=best_loss)


def test_a_whole_curriculum():
    state, done = run(SCHEDULE, [5.0, 4.0, 4.5, 2.0, 1.9, 2.5, 1.8, 1.85])
    train = ["train 100"] * 2
    train_next = ["train 200"] * 2
    assert done == [
        *train,
        "validation 200: new best",
        *train,
        "validation 200: new best",
        *train,
        "validation 200: next stage",
        "baseline 300",
        *train_next,
        "validation 300: new best",
        *train_next,
        "validation 300: no improvement",
        *train_next,
        "validation 300: new best",
        *train_next,
        "validation 300: stop",
    ]
    assert (state.stage, state.epoch, state.best_loss) == (1, 14, 1.8)


def test_the_baseline_must_be_beaten_in_the_new_stage():
    state, done = run(SCHEDULE, [5.0, 4.0, 4.5, 2.0, 2.1, 2.2, 2.3])
    assert done[-1] == "validation 300: stop"
    assert not state.improved and state.reason.startswith("no period of stage 1")


@pytest.mark.parametrize("loss, decision", [(1.0, Decision.KEEP), (9.0, Decision.STOP)])
def test_the_last_epoch_ends_training_with_a_validation(loss, decision):
    schedule = curriculum.Schedule((100,), (100,), 10, math.inf, max_epochs=3)
    state = State(epoch=2, period_epoch=2, best_loss=5.0, periods=1, improved=True)
    state = curriculum.after_epoch(schedule, state, 100)
    assert state.phase is Phase.VALIDATION
    state, decided = curriculum.after_validation(schedule, state, loss)
    assert (state.phase, decided) == (Phase.FINISHED, decision)
    assert state.reason == "all 3 epochs are done"


@pytest.mark.parametrize("max_steps, num_epochs, steps", [(600, 5, 600), (700, 6, 800)])
def test_a_budget_of_steps_ends_training_with_a_validation(max_steps, num_epochs, steps):
    # Two periods of two epochs of 100 steps, then stage 1 with epochs of 200 steps.
    schedule = curriculum.Schedule((100, 200), (200, 300), 2, 1, max_steps=max_steps)
    state, done = run(schedule, [5.0, 6.0, 4.0, 3.0, 2.0])
    assert done[-1] == "validation 300: new best"
    assert (state.epoch, state.steps) == (num_epochs, steps)
    assert state.reason == f"all {steps} steps are done"


def test_the_steps_of_all_trajectories_of_an_epoch_count():
    schedule = curriculum.Schedule((100,), (100,), 9, math.inf, max_steps=900, trajectories=3)
    state, done = run(schedule, [5.0])
    assert done.count("train 100") == 3
    assert (state.epoch, state.steps) == (3, 900)


def test_without_a_curriculum_every_period_is_validated_until_the_last_epoch():
    schedule = curriculum.Schedule((100,), (100,), 2, math.inf, max_epochs=8)
    state, done = run(schedule, [5.0, 6.0, 7.0, 8.0])
    assert done.count("train 100") == 8
    assert state.best_loss == 5.0


def test_validation_steps_are_the_next_stage_and_one_more_increment():
    assert curriculum.default_validation_steps((100, 200, 500)) == (200, 500, 800)
    assert curriculum.default_validation_steps((100,)) == (100,)


@pytest.mark.parametrize("best_loss", [INF, 0.1])
def test_states_survive_json(best_loss):
    state = State(phase=Phase.BASELINE, stage=3, epoch=7, best_loss=best_loss, improved=True)
    assert State.from_json(json.loads(json.dumps(state.to_json(), allow_nan=False))) == state
