"""TensorBoard events hold the numbers of the training events."""

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.plugins.hparams import plugin_data_pb2

from l2o_tf.run import summaries
from l2o_tf.training import curriculum, epochs, trainer

CONFIG = {"seed": 5, "teachers": ["adam", "sgd"], "num_epochs": None, "curriculum": True}


@pytest.fixture
def written(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("runs") / "dm_cl"
    meta = epochs.MetaState({"w": tf.constant([1.0, 2.0])}, (), (), tf.constant(3))
    state = curriculum.State(epoch=7, stage=1, best_loss=1.25)
    where = trainer.Progress(meta, {}, meta.weights, state, 9)
    writer = summaries.TensorBoardSummaries(tmp_path, CONFIG, first_epoch=0, validated_steps=1000)
    imitated = np.array([False, True, True])
    for kind, losses, norms, share in [
        ("imitation", [1.0, 2.0, 6.0], [3.0, 5.0, 7.0], 0.0),
        ("interleaved", [2.0, 0.25, 0.75], [8.0, 1.0, 3.0], 0.0),
        ("self_improving", [4.0, 4.0, 1.0], [1.0, 1.0, 4.0], 0.375),
    ]:
        writer.add(
            trainer.EpochDone(
                where, kind, 1, 40, np.array(losses), np.array(norms), imitated, share
            )
        )
    losses = np.array([[4.0, 2.0], [2.0, 1.0]])
    keep = curriculum.Decision.KEEP
    sizes = np.array([[0.01, 0.0], [0.1, 1.0]])
    writer.add(trainer.ValidationDone(where, "validation", 1, 40, losses, 1.5, keep, sizes))
    losses = losses + [[1, 1.5]]
    writer.add(trainer.ValidationDone(where, "baseline", 2, 40, losses, 3, None, sizes))
    writer.close()
    (path,) = tmp_path.glob("events.out.tfevents.*")
    found = {}
    for record in tf.data.TFRecordDataset(str(path)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            plugin = value.metadata.plugin_data
            content = tf.make_ndarray(value.tensor)
            if plugin.plugin_name == "hparams":
                content = plugin_data_pb2.HParamsPluginData.FromString(plugin.content)
            found.setdefault(value.tag, []).append((event.step, content))
    return found


def test_scalars_have_their_values_and_epochs(written):
    for tag, values in {
        # An epoch of imitation, and the two imitated unrolls of an interleaved one.
        "train/imitation": [3.0, 0.5],
        "watch/gradient_norm_imitation": [5.0, 2.0],
        "train/meta_loss": [2.0],
        "watch/gradient_norm_meta_loss": [8.0],
        "train/self_improving": [3.0],
        "watch/gradient_norm_self_improving": [2.0],
        "watch/skipped_meta_steps": [3.0] * 3,
        "watch/stage": [1.0] * 3,
        "watch/num_steps": [40.0] * 3,
        "watch/analytical_share": [0.0, 0.0, 0.375],
        "validation/loss_stage_1": [1.5],
        "validation/loss_stage_2": [3.0],
        "validation/loss": [1.5, 3.0],
        "validation/best_loss": [1.25, 1.25],
    }.items():
        assert [(step, float(found)) for step, found in written[tag]] == [
            (7, value) for value in values
        ], tag
    assert written["watch/steps_per_second"][0][1] > 0


def test_validation_curves_are_means_over_trajectories_one_after_the_other(written):
    curves = [(step, float(v)) for step, v in written["validation/curve"]]
    assert curves == [(1000, 3.0), (1020, 1.5), (1040, 4.0), (1060, 3.0)]


def test_train_and_validation_come_first(written):
    losses = {tag for tag in written if tag.startswith("train/")}
    assert losses == {"train/imitation", "train/meta_loss", "train/self_improving"}
    groups = sorted({tag.partition("/")[0] for tag in written if "/" in tag} - {"_hparams_"})
    assert groups == ["train", "validation", "watch", "weights"]
    of_all_stages = sorted(tag for tag in written if tag.startswith("validation/"))[:3]
    assert of_all_stages == ["validation/best_loss", "validation/curve", "validation/loss"]


def test_config_and_histograms_are_there(written):
    assert b'"seed": 5' in written["config"][0][1].ravel()[0]
    # Rows of a histogram are left edge, right edge, count.
    weights = written["weights/w"][0][1]
    assert (weights[0, 0], weights[-1, 1], weights[:, 2].sum()) == (1.0, 2.0, 2.0)
    sizes = written["weights/log10_of_update_size"][0][1]
    assert (sizes[0, 0], sizes[-1, 1], sizes[:, 2].sum()) == (-12.0, 0.0, 4.0)


def test_runs_compare_by_their_flags_and_validation_losses(written):
    ((_, experiment),) = written["_hparams_/experiment"]
    metrics = [metric.name.tag for metric in experiment.experiment.metric_infos]
    assert metrics == ["validation/best_loss", "validation/loss"]
    infos = {info.name: info.differs for info in experiment.experiment.hparam_infos}
    assert infos == {"seed": True, "teachers": False, "num_epochs": False, "curriculum": True}
    ((_, session),) = written["_hparams_/session_start_info"]
    assert session.session_start_info.group_name.partition(" in ")[0].endswith("/dm_cl")
    flags = session.session_start_info.hparams
    assert flags["seed"].string_value == "5" and flags["curriculum"].bool_value
    assert flags["teachers"].string_value == "adam,sgd"


def test_runs_of_the_same_last_name_are_rows_of_their_own(tmp_path):
    trials = set()
    for parent in ("dm", "rnnprop"):
        (_, row) = summaries._table_of_runs(tmp_path / parent / "seed0", CONFIG)
        content = row.value[0].metadata.plugin_data.content
        found = plugin_data_pb2.HParamsPluginData.FromString(content)
        trials.add(found.session_start_info.group_name)
    assert trials == {f"dm/seed0 in {tmp_path}", f"rnnprop/seed0 in {tmp_path}"}
