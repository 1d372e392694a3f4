"""What `run_bundle.py` leaves behind, whenever it is killed, and what it does not write over."""

import errno
import gzip
import importlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from l2o_tf.data import datasets
from l2o_tf.export import bundle
from l2o_tf.training import curriculum

MODULES = ("lane", "results", "output", "saving", "philox", "curriculum")
ABOUT = {"what": {"kind": "train"}, "columns": ["event", "kind", "epoch", "stage", "num_steps"]}
ABOUT["columns"] += ["loss", "last_loss", "gradient_norm", "skipped_meta_steps", "decision"]
SCHEDULE = {
    "train_steps": [8, 12],
    "validation_steps": [12, 16],
    "period_epochs": 2,
    "min_periods": 2,
    "max_epochs": None,
    "max_steps": None,
}
RECIPE = {
    "config": {},
    "schedule": SCHEDULE,
    "unroll_length": 4,
    "imitation_r": [0.0],
    "validation_epochs": 1,
    "weight_average": 0.0,
    "seed": 0,
}
# Of validations by epoch: two stages, the second of which ends with a period that is worse.
LOSSES = {2: 3.0, 4: 2.0, 6: 2.5, 8: 1.5, 10: 1.0, 12: 1.2}
NUM_EVENTS = 12 + 6 + 1  # Epochs, validations and a baseline.


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    """Imports a module as it is imported from a bundle."""
    files = [f"{name}.py" for name in MODULES if name != "curriculum"]
    bundle.finish(tmp_path / "bundle", {}, files, [curriculum.__file__])
    monkeypatch.syspath_prepend(str(tmp_path / "bundle"))
    for name in MODULES:
        sys.modules.pop(name, None)
    yield importlib.import_module
    for name in MODULES:
        sys.modules.pop(name, None)


def new_lane(bundled):
    return bundled("lane").Lane(0, RECIPE, {"w": np.float32([-1])})


def train(lane, num_events):
    """Trains until there were so many events, on weights that are the number of the epoch."""
    while lane.num_events < num_events and lane.phase.value != "finished":
        if not lane.trains:
            epoch = lane.state.epoch
            lane.validated(np.float32([LOSSES[epoch]]), {"w": np.float32([epoch])}, 0)
            continue
        lane.record(lane.next_unroll(), 0.5, 0.25, 0)
    return lane


def standing(lane):
    """All that a lane has, as plain values."""
    return {
        **lane.to_json(),
        "best": lane.best["w"].tolist(),
        "stages": {k: (w["w"].tolist(), card) for k, (w, card) in lane.stages.items()},
        "snapshots": {k: w["w"].tolist() for k, w in lane.snapshots.items()},
        "rows": [
            {key: str(value) for key, value in row.items() if value != ""} for row in lane.rows
        ],
    }


def write_all(bundled, root):
    """Results after every number of events, and what the lane had then."""
    stood = []
    for count in range(NUM_EVENTS + 1):
        lane = train(new_lane(bundled), count)
        metas = {0: {"meta/w": np.float32([count])}}
        bundled("results").write(root / str(count), [lane], metas, ABOUT)
        stood.append(standing(lane))
    return stood


def test_a_kill_between_results_and_checkpoint_changes_nothing(tmp_path, bundled):
    stood = write_all(bundled, tmp_path)
    last = stood[-1]
    assert [last["best"], list(last["stages"]), last["schedule"]["phase"]] == [
        [10.0],
        [0, 1],
        "finished",
    ]
    for before in range(len(stood)):
        for after in range(before, len(stood)):
            killed = tmp_path / f"{before}_{after}"
            shutil.copytree(tmp_path / str(after), killed)
            shutil.copy(tmp_path / str(before) / "checkpoint.npz", killed)
            lane = new_lane(bundled)
            metas = bundled("results").read(killed, [lane], ABOUT["what"])
            assert metas[0]["meta/w"].tolist() == [before]
            assert standing(lane) == stood[before]
            assert standing(train(lane, NUM_EVENTS)) == last


def test_results_hold_no_weights_twice(tmp_path, bundled):
    write_all(bundled, tmp_path)
    with zipfile.ZipFile(tmp_path / str(NUM_EVENTS) / "results_0.zip") as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
    snapshots = {f"snapshot_{epoch}.npz" for epoch in (2, 4, 8, 10, 12)}
    assert names == {"lane.json", "metrics.csv", *snapshots}


def test_results_that_are_older_than_the_checkpoint_are_refused(tmp_path, bundled):
    write_all(bundled, tmp_path)
    shutil.copy(tmp_path / "5" / "checkpoint.npz", tmp_path / "4")
    with pytest.raises(bundled("output").InputError, match="lacks results of lane 0"):
        bundled("results").read(tmp_path / "4", [new_lane(bundled)], ABOUT["what"])
    with pytest.raises(bundled("output").InputError, match="results of another bundle"):
        bundled("results").read(tmp_path / "5", [new_lane(bundled)], {"kind": "other"})


@pytest.mark.parametrize("name", ["checkpoint.npz", "results_0.zip"])
@pytest.mark.parametrize("content", [b"junk", b""])
def test_damaged_results_are_one_line(tmp_path, bundled, name, content):
    write_all(bundled, tmp_path)
    (tmp_path / "5" / name).write_bytes(content)
    with pytest.raises(bundled("output").InputError, match=f"cannot read .*{name}: .*; start anew"):
        bundled("results").read(tmp_path / "5", [new_lane(bundled)], ABOUT["what"])


def test_lanes_are_those_that_there_are(bundled):
    output = bundled("output")
    assert output.chosen(None, 3) == [0, 1, 2] and output.chosen("2, 0", 3) == [2, 0]
    for wrong in ("a", "", "3", "-1", "0,", "1.0"):
        with pytest.raises(output.InputError, match=f"--lanes={wrong} must be numbers from 0 to 2"):
            output.chosen(wrong, 3)


@pytest.mark.parametrize("name", ["checkpoint.npz", "evaluation.npz", "results_0.zip"])
def test_results_of_another_call_are_not_written_over(tmp_path, bundled, name):
    output, out, other = bundled("output"), tmp_path / "out", tmp_path / "other"
    for directory in (out, other, tmp_path / "empty"):
        directory.mkdir()
    (other / "checkpoint.npz").touch()
    with output.held(tmp_path / "empty"), output.held(tmp_path / "new", other):
        pass
    (out / name).touch()
    reason = f"{name} and no checkpoint.npz to go on from: choose another --out"
    if name == "checkpoint.npz":
        reason = f"the results of another call: go on from them with --resume={out} --out={out}, or"
    for resumed in (None, other):
        with pytest.raises(output.InputError, match=f"^--out={out} holds {reason}"):
            with output.held(out, resumed):
                pass
    assert (out / name).exists()


KILLED = """\
import os, pathlib, signal, sys
import output

out = pathlib.Path(sys.argv[1])
with output.held(out):
    (out / sys.argv[2]).touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("name", ["evaluation.npz", "results_3.zip"])
def test_a_call_that_was_killed_before_its_first_checkpoint_can_be_repeated(
    tmp_path, bundled, name
):
    output, out = bundled("output"), tmp_path / "out"
    script = [sys.executable, "-c", KILLED, str(out), name]
    for _ in range(2):
        result = subprocess.run(script, cwd=tmp_path / "bundle", capture_output=True)
        assert result.returncode == -signal.SIGKILL, result.stderr
        assert (out / name).exists()
    refusal = f"^--resume={out} has no checkpoint.npz to go on from: start anew without --resume$"
    with pytest.raises(output.InputError, match=refusal):
        with output.held(out, out):
            pass
    with output.held(out):
        # Else archives of a bundle of more lanes would stay beside the new ones.
        assert not (out / name).exists()
        for written in (name, "checkpoint.npz"):
            (out / written).touch()
    # What is finished is not taken for unfinished, even if its checkpoint is lost.
    (out / "checkpoint.npz").unlink()
    with pytest.raises(output.InputError, match=f"holds {name} and no checkpoint.npz"):
        with output.held(out):
            pass
    assert (out / name).exists()


def test_results_may_be_gone_on_from(tmp_path, bundled):
    output, out = bundled("output"), tmp_path / "out"
    with pytest.raises(output.InputError, match="has no checkpoint.npz to go on from"):
        with output.held(out, out):
            pass
    assert not out.exists()
    out.mkdir()
    (out / "checkpoint.npz").touch()
    with output.held(out, out / ".." / "out"):
        assert (out / "checkpoint.npz").exists()


def test_two_processes_do_not_write_to_one_folder(tmp_path, bundled):
    pytest.importorskip("fcntl")
    output = bundled("output")
    with output.held(tmp_path / "out"):
        with pytest.raises(output.InputError, match="is in use by another process"):
            with output.held(tmp_path / "out"):
                pass
    with output.held(tmp_path / "out"):
        pass


@pytest.mark.parametrize(
    "number, before, message",
    [
        (errno.ENOSPC, [], "No space left on device; make room and start again"),
        (
            errno.ENOSPC,
            ["checkpoint.npz"],
            "No space left on device; make room and go on with --resume='{0}' --out='{0}'",
        ),
        (errno.EACCES, [], "Permission denied; make it writable and start again"),
    ],
)
def test_what_cannot_be_written_is_one_line(
    tmp_path, bundled, monkeypatch, number, before, message
):
    out, saving = tmp_path / "my results", bundled("saving")
    for name in ("results_0.zip", *before):
        saving.replace(out / name, b"old")

    def fail(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(bundled("output").InputError) as caught:
        saving.replace(out / "results_0.zip", b"new")
    assert str(caught.value) == f"cannot write {out}/results_0.zip: {message.format(out)}"
    assert (out / "results_0.zip").read_bytes() == b"old"
    assert {path.name for path in out.iterdir()} == {"results_0.zip", *before}


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, bundled):
    (tmp_path / "file").touch()
    output = bundled("output")
    with pytest.raises(output.InputError, match="cannot write to --out=.*file: "):
        with output.held(tmp_path / "file"):
            pass


@pytest.mark.parametrize(
    "flags, images, message",
    [
        (["--data=/nowhere"], None, "/nowhere has no data_0.npz: give the folder that has"),
        ([], b"", "bundle has no data_0.npz: give the folder that has the images, --data=DIR, or"),
        ([], b"junk", "data_0.npz: .*; export the bundle again"),
        (
            ["--benchmark=1", "--programs=evaluate_0_2,train_9"],
            None,
            "--programs=evaluate_0_2,train_9 must be some of evaluate_0_2: 'train_9' is none",
        ),
        (["--benchmark=1", "--programs=init_0"], None, "some of evaluate_0_2: 'init_0' is none"),
    ],
)
def test_what_a_bundle_lacks_is_one_line(tmp_path, flags, images, message):
    pytest.importorskip("jax")
    from tests.export.running import refusal

    write_bundle_without_runs(tmp_path / "bundle", images)
    line = refusal(tmp_path / "bundle", f"--out={tmp_path / 'out'}", *flags)
    assert re.search(message, line)
    assert not (tmp_path / "out").exists()


def write_bundle_without_runs(directory, images=None):
    """With images of zeros, or with a file of these bytes, or for none, b"", without."""
    program = {"file": "program.mlir.gz", "inputs": [], "outputs": []}
    about = {
        "what": {"kind": "evaluate"},
        "flags": {},
        "fingerprints": {},
        "num_steps": 1,
        "steps_per_call": 1,
        "data": {"data_0": {"file": "data_0.npz", "scale": 1.0}},
        "programs": {"init_0": program, "evaluate_0_2": program},
        "groups": [{"data": "data_0", "runs": []}],
    }
    bundle.finish(directory, about, ["evaluating.py"])
    (directory / "program.mlir.gz").write_bytes(gzip.compress(b""))
    np.savez(directory / "initial.npz")
    if images is None:
        np.savez(directory / "data_0.npz", images=np.zeros([2, 1]), labels=np.zeros([2]))
    elif images:
        (directory / "data_0.npz").write_bytes(images)


def test_images_of_another_bundle_are_one_line(tmp_path):
    pytest.importorskip("jax")
    from tests.export.running import refusal

    write_bundle_without_runs(tmp_path / "bundle", images=b"")
    about = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    about["data"]["data_0"] = bundle.write_data(
        tmp_path / "bundle", "data_0", datasets.load("digits", "test"), with_images=False
    )
    (tmp_path / "bundle" / "bundle.json").write_text(json.dumps(about))
    bundle.write_data(tmp_path, "data_0", datasets.load("digits", "train"))
    # Before anything runs, and before a folder of results is made.
    line = refusal(tmp_path / "bundle", f"--out={tmp_path / 'out'}", f"--data={tmp_path}")
    assert f"{tmp_path}/data_0.npz has other images than those that the bundle is for" in line
    assert not (tmp_path / "out").exists()


def test_a_bundle_that_is_not_complete_is_one_line(tmp_path):
    pytest.importorskip("jax")
    from tests.export.running import refusal

    write_bundle_without_runs(tmp_path / "bundle")
    path = tmp_path / "bundle" / "bundle.json"
    path.unlink()
    line = refusal(tmp_path / "bundle", f"--out={tmp_path / 'out'}")
    assert line == (
        f"error: cannot read {path}: No such file or directory; export the bundle again"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="/dev/full is of Linux")
def test_a_full_disk_is_one_line_after_which_the_same_command_goes_on(tmp_path):
    pytest.importorskip("jax")
    from tests.export.running import refusal, run_bundle

    write_bundle_without_runs(tmp_path / "bundle")
    out = tmp_path / "out"
    out.mkdir()
    (out / ".checkpoint.npz").symlink_to("/dev/full")
    line = refusal(tmp_path / "bundle", f"--out={out}")
    path = out / "checkpoint.npz"
    assert line == (
        f"error: cannot write {path}: No space left on device; make room and start again"
    )
    assert {path.name for path in out.iterdir()} == {".lock", "evaluation.npz"}
    run_bundle(tmp_path / "bundle", f"--out={out}")
    assert path.exists()
    (out / ".evaluation.npz").symlink_to("/dev/full")
    before = (out / "evaluation.npz").read_bytes()
    again = f"--resume={out} --out={out}"
    line = refusal(tmp_path / "bundle", *again.split())
    assert line.endswith(f": No space left on device; make room and go on with {again}")
    assert (out / "evaluation.npz").read_bytes() == before
    run_bundle(tmp_path / "bundle", *again.split())
