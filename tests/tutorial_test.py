"""The tutorial runs, with less training."""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import matplotlib
import numpy as np
import pytest

REPOSITORY = pathlib.Path(__file__).parents[1]
TUTORIAL = (REPOSITORY / "docs" / "tutorial.md").read_text(encoding="utf-8")
SHORT = ["--curriculum_steps=20,40", "--period_epochs=2", "--validation_epochs=2"]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TUTORIAL, re.DOTALL)


@pytest.mark.slow
def test_the_tutorial(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (command,) = blocks("bash")
    python, *arguments = shlex.split(command.replace("\\\n", " "))
    assert python == "python" and arguments[:2] == ["-m", "l2o_tf.train"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run(
        [sys.executable, *arguments, *SHORT, "--num_epochs=4"], check=True, env=environment
    )
    assert (tmp_path / "runs" / "tutorial" / "rule.npz").exists()

    code = "\n".join(blocks("python"))
    assert "num_epochs = 20\n" in code
    names = {}
    matplotlib.use("Agg")
    exec(code.replace("num_epochs = 20\n", "num_epochs = 3\n"), names)
    adam = [f"Adam {rate}" for rate in (0.001, 0.003, 0.01)]
    expected = {n + decay for n in ("learned", *adam) for decay in ("", ", decay")}
    assert set(names["histories"]) == expected
    for history in names["histories"].values():
        assert len(history["loss"]) == 3 and np.isfinite(history["loss"]).all()
    assert float(names["loss"]) < 2.4 and (tmp_path / "tutorial.png").exists()
    assert int(names["model"].count_params()) == 9930
    assert list((tmp_path / "runs" / "tutorial" / "keras").glob("events*"))


def test_links_lead_somewhere():
    for name in ("tutorial.md", "debugging.md"):
        text = (REPOSITORY / "docs" / name).read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (REPOSITORY / "docs" / link).exists(), f"{name} links to {link}"
