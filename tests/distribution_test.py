"""A source distribution and the wheel made of it, installed where no checkout is."""

import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

from tests import packaging_test

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
BUILT_FROM = ["l2o_tf", "flags", "data/published"]
COMMANDS = sorted(packaging_test.PYPROJECT["project"]["scripts"])


def call(*command, cwd, check=True):
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The source distribution, and the wheel that is built of it alone."""
    folder = tmp_path_factory.mktemp("source")
    for name in BUILT_FROM:
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, folder / name)
    done = call(sys.executable, "-m", "build", "--outdir", "dist", cwd=folder, check=False)
    if "No matching distribution found for setuptools" in done.stdout + done.stderr:
        pytest.skip("building needs setuptools from a package index, and none is reachable")
    assert done.returncode == 0, done.stdout + done.stderr
    (source,), (wheel,) = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
    return source, wheel


@pytest.fixture(scope="module")
def environment(built, tmp_path_factory):
    """A fresh virtual environment with the wheel.

    What the package depends on is taken from the environment of the tests, by a path at the end:
    `.pth` files found there, such as that of an editable install, are not followed.
    """
    folder = tmp_path_factory.mktemp("fresh")
    call(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    purelib = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = call(python, "-c", purelib, cwd=folder).stdout.strip()
    borrowed = call(sys.executable, "-c", purelib, cwd=folder).stdout.strip()
    pathlib.Path(own, "borrowed.pth").write_text(borrowed)
    call(python, "-m", "pip", "install", "--no-deps", "--force-reinstall", built[1], cwd=folder)
    return folder


@pytest.mark.slow
def test_the_distributions_hold_the_package_and_nothing_else(built):
    with tarfile.open(built[0]) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(built[1]) as archive:
        wheel = set(archive.namelist())
    files = {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "l2o_tf").rglob("*")
        if path.is_file() and path.name != "BUILD" and path.suffix != ".pyc"
    }
    assert files <= wheel and files <= source
    assert {"l2o_tf/py.typed", "l2o_tf/export/bundled/run_bundle.py"} < files
    assert {"flags/quickstart.flags", "data/published/figure2.csv"} <= source
    shipped = {"l2o_tf/shipped/flags/quickstart.flags", "l2o_tf/shipped/published/figure2.csv"}
    assert shipped <= wheel
    folders = {name.partition("/")[0] for name in wheel}
    assert len(folders) == 2 and "l2o_tf" in folders  # The other one is the metadata.


@pytest.mark.slow
def test_the_wheel_works_in_a_fresh_environment(environment, tmp_path):
    programs = environment / "venv" / "bin"
    code = (
        "import l2o_tf; print(l2o_tf.__file__, *l2o_tf.list_pretrained());"
        "print(*l2o_tf.load('rnnprop_cl_il').weights())"
    )
    home, *names = call(programs / "python", "-c", code, cwd=tmp_path).stdout.split()
    assert pathlib.Path(home).is_relative_to(environment) and "rnnprop_cl_il" in names
    for name in COMMANDS:
        page = call(programs / name, "--help", cwd=tmp_path).stdout
        assert f"usage: python -m l2o_tf.{name.removeprefix('l2o-').replace('-', '_')}" in page
    dry = call(programs / "l2o-train", "--recipe=quickstart", "--dry_run", cwd=tmp_path)
    assert "digits" in dry.stdout + dry.stderr and not list(tmp_path.iterdir())
    train = ["l2o-train", "--dataset=digits", "--num_epochs=2", "--num_steps=40", "--workdir=run"]
    call(programs / train[0], *train[1:], cwd=tmp_path)
    assert (tmp_path / "run" / "rule.npz").exists()
