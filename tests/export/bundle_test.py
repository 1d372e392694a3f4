"""What all kinds of bundles are written by."""

import json

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


def test_images_that_are_left_out_are_described_alike(tmp_path):
    data = datasets.load("digits", "test")
    described = bundle.write_data(tmp_path, "data_0", data, with_images=False)
    assert described["file"] == "data_0.npz" and list(tmp_path.iterdir()) == []
    assert bundle.write_data(tmp_path, "data_0", data) == described
    assert (tmp_path / "data_0.npz").exists()
    others = bundle.write_data(tmp_path, "data_1", datasets.load("digits", "train"))
    assert others["checksum"] != described["checksum"] and others["scale"] == described["scale"]


def identity_of(directory):
    return json.loads((directory / "bundle.json").read_text())["what"]


def test_bundles_on_other_images_or_options_are_others(tmp_path, monkeypatch):
    for kind in ("train", "validate", "evaluate", "rule_init"):
        monkeypatch.setattr(programs, kind, lambda *args: programs.Program("", [], []))
    shared = {"rules": ("sgd:0.1",), "dataset": "digits", "num_seeds": 1, "workdir": "x"}
    shared |= {"optimizees": ("conv_mnist",), "split": "train[:50]"}
    options = '{"relu_logits": false}'
    found = []
    for i, changes in enumerate([{}, {"optimizee_options": options}, {"split": "train[:60]"}]):
        given = evaluation_config.EvaluateConfig(**{**shared, **changes})
        evaluations.write(str(tmp_path / f"{i}"), given, (1,))
        found.append(identity_of(tmp_path / f"{i}"))
    evaluations.write(str(tmp_path / "again"), evaluation_config.EvaluateConfig(**shared), (1,))
    assert identity_of(tmp_path / "again") == found[0]
    assert len({what["checksum"] for what in found}) == 3


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
