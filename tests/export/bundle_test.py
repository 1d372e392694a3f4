"""What all kinds of bundles are written by."""

import pytest

from l2o_tf.core import errors, file_system, files
from l2o_tf.data import datasets
from l2o_tf.evaluation import config as evaluation_config
from l2o_tf.export import bundle, evaluations, programs, rule_bundle, trainings
from l2o_tf.run import config


def write_training(directory):
    trainings.write(directory, [config.TrainConfig(dataset="digits", unroll_length=4)], (1,), 1)


def write_evaluation(directory):
    given = evaluation_config.EvaluateConfig(
        rules=("sgd:0.1",), optimizees=("mlp",), dataset="digits", num_seeds=1, workdir=directory
    )
    evaluations.write(directory, given, (1,))


def write_rule(directory):
    rule_bundle.write(directory, "sgd:0.1", [(2,)])


@pytest.mark.parametrize("write", [write_training, write_evaluation, write_rule])
def test_a_bundle_that_is_written_anew_has_no_description_until_it_is_complete(
    tmp_path, monkeypatch, write
):
    described = tmp_path / "bundle.json"
    described.write_text("of the former bundle")
    written = []

    class Watched(file_system.System):
        def replace(self, source, target):
            written.append((target.name, described.exists()))
            super().replace(source, target)

    monkeypatch.setattr(files, "system", Watched())
    for kind in ("train", "validate", "evaluate", "rule_init", "rule_update"):
        monkeypatch.setattr(programs, kind, lambda *args: programs.Program("", [], []))
    write(str(tmp_path))
    assert len(written) > 3 and not any(is_described for _, is_described in written)
    assert written[-1][0] == "bundle.json"


def test_images_are_left_out_and_those_of_the_former_bundle_go(tmp_path):
    data = datasets.load("digits", "test")
    described = bundle.write_data(tmp_path, "data_0", data)
    assert described["file"] == "data_0.npz" and (tmp_path / "data_0.npz").exists()
    assert bundle.write_data(tmp_path, "data_0", data, with_images=False) == described
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_where_a_file_is_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    bundle.begin(tmp_path / "file")
    with pytest.raises(errors.InputError, match=f"^cannot write {tmp_path}/file/.*: File exists$"):
        write_rule(str(tmp_path / "file"))


def test_an_export_that_is_refused_leaves_the_bundle_that_is_there(tmp_path):
    write_rule(str(tmp_path))
    before = (tmp_path / "bundle.json").read_bytes()
    with pytest.raises(errors.InputError, match="a rule can"):
        rule_bundle.write(str(tmp_path), "sgd:0.1", [(2**31,)])
    assert (tmp_path / "bundle.json").read_bytes() == before
