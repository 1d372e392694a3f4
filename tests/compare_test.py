"""`python -m l2o_tf.compare` as a gate: exit codes, report and files."""

import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest

from l2o_tf import compare
from l2o_tf.core import errors
from l2o_tf.evaluation import results


def store(directory, rule, shift, num_seeds=3):
    """Losses around exp(shift - step / 500), with noise over steps and seeds."""
    rng = np.random.default_rng(int(1000 * shift) + len(rule))
    for seed in range(num_seeds):
        noise = 0.05 * rng.normal() + 0.2 * rng.normal(size=1000)
        losses = np.exp(shift - np.arange(1000) / 500 + noise).astype(np.float32)
        results.append(directory, results.Run(rule, "mlp", "mnist", "test", seed, losses))


def run_compare(*arguments):
    command = [sys.executable, "-m", "l2o_tf.compare", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_exit_code_1_and_files(tmp_path):
    for side, shift in (("a", 0.0), ("b", 0.5)):
        store(tmp_path / side, "dm", 0.0 if side == "a" else 0.01)
        store(tmp_path / side, "rnnprop", shift)
    store(tmp_path / "b", "scale", 0.0)
    out = tmp_path / "out"
    done = run_compare(f"new={tmp_path / 'a'}", tmp_path / "b", f"--out={out}", "--tolerance=0.3")
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert "new - B" in lines[0]
    assert [line.split()[-1] for line in lines[2:4]] == ["AGREE", "DIFFER"]
    assert "Of 2 series 1 differ, 1 agree (tolerance 0.3)." in done.stdout
    assert "Only in B: scale on mlp." in done.stdout
    names = sorted(path.name for path in out.iterdir())
    assert names == ["comparison.pdf", "comparison.png", "comparison.txt", "differences.csv"]
    text = (out / "comparison.txt").read_text()
    assert text.startswith("\n".join(lines[:-1]) + "\n\nnew: dm on mlp (3 runs); mnist/test\n")
    assert len((out / "differences.csv").read_text().splitlines()) == 1 + 2 * 10


def test_exit_codes_against_a_legacy_record(tmp_path, capsys):
    store(tmp_path / "a", "dm", 0.0, num_seeds=10)
    record = tmp_path / "L2L_eval_loss_record.pickle-mnist"
    losses = np.exp(-np.arange(1000) / 500)
    record.write_bytes(pickle.dumps([float(loss) for loss in losses]))
    config = compare.CompareConfig(a=f"{tmp_path / 'a'}:mlp:dm", b=str(record), tolerance=0.3)
    assert compare.main(config) == 0
    assert "Of 1 series 1 agree (tolerance 0.3)." in capsys.readouterr().out
    assert compare.main(dataclasses.replace(config, tolerance=0.1)) == 3
    assert "seeds on each side would decide" in capsys.readouterr().out
    record.write_bytes(pickle.dumps([float(loss) for loss in 3 * losses]))
    assert compare.main(config) == 1


def pickled(content, protocol=2):
    """As an old NumPy, and with protocol 2 or less Python 2, writes it."""
    return pickle.dumps(content, protocol).replace(b"numpy._core", b"numpy.core")


@pytest.mark.parametrize(
    "name, written",
    [
        # L2O-DM and RNNprop: what a session returned after each step, of one run.
        ("L2L_eval_loss_record.pickle-mnist", lambda runs: pickled([*runs[0]], 3)),
        ("L2L_eval_loss_record.pickle-mnist", lambda runs: pickled([*runs[0]])),
        # L2O-Scale.
        ("seed0_eval_loss_record.pickle-mnist", lambda runs: pickled(runs[0].tolist(), 0)),
        # Of several runs.
        ("record.pickle", lambda runs: pickled([*runs])),
        ("record.pickle", lambda runs: pickled([run.tolist() for run in runs])),
        ("record.pickle", lambda runs: pickled(runs)),
    ],
)
@pytest.mark.parametrize("factor, code", [(1, 0), (3, 1)])
def test_an_evaluation_against_a_legacy_record_of_each_kind(tmp_path, name, written, factor, code):
    store(tmp_path / "a", "dm", 0.0, num_seeds=10)
    of_runs = [run.losses for run in results.load(tmp_path / "a")]
    record = tmp_path / name
    record.write_bytes(written(np.stack(of_runs[:4]) * np.float32(factor)))
    sides = {"a": str(tmp_path / "a"), "b": f"legacy={record}"}
    assert compare.main(compare.CompareConfig(**sides, tolerance=0.3)) == code


def test_exit_code_2_is_one_line(tmp_path):
    done = run_compare(tmp_path / "a", tmp_path / "b")
    assert (done.returncode, done.stdout) == (2, "")
    where = f"{str(tmp_path / 'a')!r}"
    assert done.stderr == f"error: {where} not found: pass [LABEL=]PATH[:OPTIMIZEE[:RULE]]\n"


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ("x --out=o y", ("x", "y", "o", 0.25)),
        ("--out o x y", ("x", "y", "o", 0.25)),
        ("x --tolerance 0.5 l=y --out o", ("x", "l=y", "o", 0.5)),
        ("--b=y x", ("x", "y", None, 0.25)),
        ("--a x y", ("x", "y", None, 0.25)),
    ],
)
def test_arguments_become_sides(monkeypatch, arguments, expected):
    given = []
    monkeypatch.setattr(compare, "main", given.append)
    monkeypatch.setattr(sys, "argv", ["compare", *arguments.split()])
    with pytest.raises(SystemExit) as exited:
        compare.command()
    assert not exited.value.code
    (config,) = given
    assert (config.a, config.b, config.out, config.tolerance) == expected


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("x y z", "unexpected argument 'z'; flags are written as --name=value"),
        ("x --out", "Missing value for flag --out (--help lists the flags)"),
        ("x", "two results are needed: python -m l2o_tf.compare A B"),
    ],
)
def test_arguments_that_are_no_sides(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["compare", *arguments.split()])
    with pytest.raises(SystemExit) as exited:
        compare.command()
    assert (exited.value.code, capsys.readouterr().err) == (2, f"error: {message}\n")


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"a": "x"}, "two results are needed"),
        ({"a": "x", "b": "y", "window": 0}, "--window=0 must"),
        ({"a": "x", "b": "y", "window": 10**9}, "--window=1000000000 must"),
        ({"a": "x", "b": "y", "tolerance": -1.0}, "--tolerance=-1.0 must"),
        ({"a": "x", "b": "y", "tolerance": float("nan")}, "--tolerance=nan must"),
    ],
)
def test_flags_out_of_range(flags, message):
    with pytest.raises(errors.InputError, match=message):
        compare.CompareConfig(**flags)
