"""What a person sees of a run: lines without a terminal, a bar with one."""

import dataclasses
import io
import math

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.run import display
from l2o_tf.training import curriculum, epochs, trainer

SCHEDULE = curriculum.Schedule((100, 200), (200, 300), 10, 3)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def make_progress(**state):
    meta = epochs.MetaState({}, (), (), tf.constant(0))
    return trainer.Progress(meta, {}, {}, curriculum.State(**state), 1)


def epoch(n, **state):
    where = make_progress(epoch=n, period_epoch=n % 10, **state)
    stage = where.schedule.stage
    return trainer.EpochDone(
        where, "meta_loss", stage, 100, np.full(5, 1.25), np.ones(5), np.zeros(5, bool)
    )


def test_lines_name_epoch_stage_and_loss_and_are_not_too_many():
    stream = io.StringIO()
    shown = display.ProgressDisplay(SCHEDULE, stream)
    for n in range(1, 6):
        shown.add(epoch(n))
    shown.close()
    assert stream.getvalue() == "epoch 1 of 30: stage 0, 100 steps, meta-loss 1.25\n"


def test_a_budget_of_steps_is_that_of_all_trajectories():
    stream = io.StringIO()
    budget = curriculum.Schedule((20,), (20,), 10, math.inf, math.inf, 400, trajectories=10)
    display.ProgressDisplay(budget, stream).add(epoch(1, steps=200))
    assert stream.getvalue().startswith("epoch 1 of 2: ")


def test_a_validation_is_always_reported():
    stream = io.StringIO()
    shown = display.ProgressDisplay(SCHEDULE, stream)
    where = make_progress(epoch=10, stage=1)
    losses = np.ones([2, 10])
    for kind, decision in [("baseline", None), ("validation", curriculum.Decision.KEEP)]:
        shown.add(trainer.ValidationDone(where, kind, 1, 300, losses, 0.5, decision, losses))
    assert stream.getvalue().splitlines() == [
        "baseline after epoch 10, stage 1, 300 steps: loss 0.5",
        "validation after epoch 10, stage 1, 300 steps: loss 0.5: new best",
    ]


def test_an_epoch_of_both_losses_shows_the_meta_loss():
    stream = io.StringIO()
    is_imitation = np.array([True, False, False])
    losses = np.array([1e-5, 2.0, 3.0])
    event = dataclasses.replace(
        epoch(1), kind="interleaved", losses=losses, is_imitation=is_imitation
    )
    display.ProgressDisplay(SCHEDULE, stream).add(event)
    assert stream.getvalue().endswith("interleaved 2.5\n")
    only_imitation = dataclasses.replace(event, is_imitation=np.ones(3, bool))
    assert only_imitation.main_losses.tolist() == losses.tolist()


def test_several_optimizees_are_named_and_validations_watched(monkeypatch):
    stream, logged = Terminal(), []
    shown = display.ProgressDisplay(SCHEDULE, stream, log=logged.append, optimizees=("a", "b"))
    shown.add(dataclasses.replace(epoch(3), optimizee=1))
    shown.watch(7, 20)
    assert "100 steps, b, meta-loss 1.25" in stream.getvalue()
    assert "validation: 7 of 20 trajectories" in stream.getvalue() and not logged
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(display.time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    shown = display.ProgressDisplay(SCHEDULE, stream, log=logged.append)
    shown.watch(0, 20)
    shown.watch(5, 20)
    assert stream.getvalue() == "validation: 5 of 20 trajectories\n" == logged[0] + "\n"


def test_a_terminal_gets_a_bar_with_eta_stage_and_loss():
    stream = Terminal()
    shown = display.ProgressDisplay(SCHEDULE, stream)
    shown.add(epoch(3, stage=1))
    shown.close()
    last = stream.getvalue().split("\r")[-1]
    assert "3/30" in last and "stage 1, 100 steps, meta-loss 1.25" in last


@pytest.mark.parametrize(
    "schedule, state, total",
    [
        (SCHEDULE, {"epoch": 4, "period_epoch": 4}, 30),
        (SCHEDULE, {"epoch": 14, "period_epoch": 4, "periods": 1}, 30),
        # After the minimum of periods a stage can end with any period.
        (SCHEDULE, {"epoch": 44, "period_epoch": 4, "periods": 4}, 50),
        (curriculum.Schedule((100,), (100,), 10, math.inf, 250), {"epoch": 4}, 250),
        (
            curriculum.Schedule((100, 200), (200, 300), 10, 3, max_steps=2500),
            {"epoch": 11, "steps": 1200, "stage": 1},
            18,
        ),
    ],
)
def test_the_total_is_where_the_stage_or_the_run_could_end(schedule, state, total):
    shown = display.ProgressDisplay(schedule, io.StringIO())
    assert shown._total(curriculum.State(**state)) == total
