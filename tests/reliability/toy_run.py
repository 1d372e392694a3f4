"""A training that takes milliseconds: all its epochs are computed once."""

import math

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.run import build, config
from l2o_tf.training import curriculum

_make = build.parts  # Tests replace it.
FLAGS = {
    "rule": "global_learning_rate",
    "rule_options": '{"initial_rate": 0.001}',
    "optimizee": ("simple",),
    "dataset": "digits",
    "curriculum": True,
    "curriculum_steps": (20, 40),
    "period_epochs": 2,
    "min_periods": 2,
    "num_epochs": 9,
    "validation_epochs": 1,
    "weight_average": 0.5,
    "checkpoint_seconds": 0.0,
}


class Replay:
    """A trainer that has trained once: the same events, from wherever it is asked to go on."""

    def __init__(self, trainer):
        self._start = trainer.initial_progress()
        self._events = list(trainer.run(self._start))

    def initial_progress(self):
        return self._start

    def run(self, progress, watch=None):
        known = [self._start, *(event.progress for event in self._events)][progress.num_events]
        assert progress.schedule == known.schedule
        for found, expected in zip(tf.nest.flatten(progress), tf.nest.flatten(known)):
            if tf.is_tensor(expected):
                assert np.asarray(found).tobytes() == expected.numpy().tobytes()
        yield from self._events[progress.num_events :]


def parts(losses=((2, 3.0), (4, 4.0), (6, math.nan), (8, 0.3), (9, 0.2))):
    """What `build.parts` makes of FLAGS, but already trained.

    Args:
        losses: epochs and what their validations are made to have as loss; with the default both
            stages have a best rule.
    """
    decide, losses = curriculum.after_validation, dict(losses)

    def scripted(schedule, state, loss):
        return decide(schedule, state, losses[state.epoch])

    made = _make(config.TrainConfig(**FLAGS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curriculum, "after_validation", scripted)
        return made._replace(trainer=Replay(made.trainer))
