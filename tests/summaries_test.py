"""TensorBoard events hold the numbers of the training events."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import summaries
from l2o_tf.training import curriculum, epochs, trainer


@pytest.fixture
def written(tmp_path):
    meta = epochs.MetaState({"w": tf.constant([1.0, 2.0])}, (), (), tf.constant(3))
    where = trainer.Progress(meta, meta.weights, curriculum.State(epoch=7, stage=1), 9)
    writer = summaries.TensorBoardSummaries(tmp_path, {"seed": 5}, first_epoch=0)
    writer.add(trainer.EpochDone(where, "imitation", 1, 40, np.array([1.0, 2.0]), np.array([3.0, 5.0])))
    losses = np.array([[4.0, 2.0], [2.0, 1.0]])
    keep = curriculum.Decision.KEEP
    writer.add(trainer.ValidationDone(where, "validation", 1, 40, losses, 1.5, keep))
    writer.close()
    (path,) = tmp_path.glob("events.out.tfevents.*")
    found = {}
    for record in tf.data.TFRecordDataset(str(path)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, tf.make_ndarray(value.tensor)))
    return found


def test_scalars_have_their_values_and_epochs(written):
    for tag, value in {
        "train/imitation": 1.5,
        "train/gradient_norm_imitation": 4.0,
        "train/skipped_meta_steps": 3.0,
        "schedule/stage": 1.0,
        "schedule/num_steps": 40.0,
        "validation/validation_loss_stage_1": 1.5,
    }.items():
        ((step, found),) = written[tag]
        assert (step, float(found)) == (7, value), tag
    assert written["speed/steps_per_second"][0][1] > 0


def test_validation_curves_are_means_over_trajectories(written):
    curve = [(step, float(v)) for step, v in written["validation_curves/epoch_7_validation"]]
    assert curve == [(0, 3.0), (20, 1.5)]


def test_config_and_histograms_are_there(written):
    assert b'"seed": 5' in written["config"][0][1].ravel()[0]
    assert "weights/w" in written
