"""`python -m l2o_tf.plot`, called as a user calls it."""

import subprocess
import sys

import numpy as np
import pytest

from l2o_tf import plot
from l2o_tf.core import errors
from l2o_tf.evaluation import drawing, results


@pytest.fixture
def directory(tmp_path):
    losses = np.linspace(2.3, 0.1, 1000, dtype=np.float32)
    for seed in range(2):
        run = results.Run("dm", "mlp", "mnist", "test", seed, losses * (1 + 0.1 * seed))
        results.append(tmp_path / "results", run)
    return tmp_path / "results"


def run_plot(*flags):
    command = [sys.executable, "-m", "l2o_tf.plot", *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_paper_figure(directory, tmp_path):
    out, pdf = tmp_path / "figure.png", tmp_path / "figure.pdf"
    done = run_plot(f"--results={directory}", "--figure=2", "--published", f"--out={out},{pdf}")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    table, lines = lines[:3], lines[3:]
    assert table[2].split()[:4] == ["mlp", "dm", "2", "0"]
    assert lines[0] == f"wrote {out}, {pdf}"
    assert pdf.read_bytes().startswith(b"%PDF")
    assert lines[1] == "missing from the results: L2O-Scale-Meta (scale_meta) on MLP-orig"
    assert lines[5] == (
        "missing from the results: all series on MLP-ReLU, MLP-deeper, Conv-MNIST, Conv-CIFAR: "
        "left out"
    )
    assert len(lines) == 6
    assert out.read_bytes().startswith(b"\x89PNG")


def test_the_endings_are_the_formats():
    assert plot.FORMATS == tuple(f".{name}" for name in drawing.FORMATS)


def test_quick_look(directory, tmp_path, capsys):
    out = tmp_path / "look.png"
    plot.main(plot.PlotConfig(results=(str(directory),), out=(str(out),)))
    assert capsys.readouterr().out.splitlines()[-1] == f"wrote {out}"
    assert out.read_bytes().startswith(b"\x89PNG")


def test_bad_input_is_one_line(tmp_path):
    done = run_plot(f"--results={tmp_path}", "--out=x.png")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: no results in {tmp_path}: pass a directory filled by evaluate\n"
    )


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"out": ("x.png",)}, "--results=DIR is missing"),
        ({"results": ("d",)}, "--out= must be the name of a file"),
        ({"results": ("d",), "out": ("y.png", "x.jpg")}, "--out=x.jpg must"),
        ({"results": ("d",), "out": ("x.pdf",), "panels": ("mlp",)}, "--panels needs --figure"),
        ({"results": ("d",), "out": ("x.png",), "published": True}, "--published needs --figure"),
    ],
)
def test_flags_that_do_not_fit(flags, message):
    with pytest.raises(errors.InputError, match=message):
        plot.PlotConfig(**flags)


def test_the_same_run_twice_is_refused(directory):
    with pytest.raises(errors.InputError, match="dm.mlp.0 is in .* and in "):
        results.load_all([directory, directory])
