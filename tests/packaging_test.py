import ast
import importlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import types

import pytest

try:
    import tomllib
except ImportError:  # Python 3.10, where pytest brings the package that tomllib was made from.
    import tomli as tomllib

from l2o_tf.core import shipped

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "l2o_tf"
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
BUNDLED = PACKAGE / "export" / "bundled"  # Scripts that travel: they are no package, and need JAX.
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != BUNDLED)
PACKAGE_FOLDERS = sorted({source.parent for source in SOURCES})
OTHER_NAMES = {"absl": "absl-py", "sonnet": "dm-sonnet"}  # Distributions of modules by other names.


def normalized(requirement: str) -> str:
    """The name of a distribution as PyPI compares it, without version bounds."""
    name = re.match(r"[\w.-]+", requirement).group()
    return re.sub(r"[-_.]+", "-", name).lower()


def imported_modules(source: pathlib.Path) -> set[str]:
    """The top-level names of all modules that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def test_every_imported_distribution_is_declared():
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    entries = project["dependencies"] + extras["hub"] + extras["safetensors"]
    declared = {normalized(entry) for entry in entries}
    modules = set().union(*map(imported_modules, SOURCES)) - sys.stdlib_module_names - {"l2o_tf"}
    imported = {normalized(OTHER_NAMES.get(module, module)) for module in modules}
    assert {"numpy", "tensorflow", "tensorflow-datasets", "dm-sonnet"} <= imported
    assert imported - declared == set()


def test_the_version_range_of_python_is_the_one_that_the_scripts_accept():
    assert PYPROJECT["project"]["requires-python"] == ">=3.10,<3.14"
    assert "(3, 10) <= sys.version_info[:2] <= (3, 13)" in read("run_scripts/common.sh")


@pytest.mark.parametrize("folder", PACKAGE_FOLDERS, ids=lambda f: str(f.relative_to(REPOSITORY)))
def test_every_package_is_known_to_python_and_bazel(folder):
    assert (folder / "__init__.py").exists()
    target = folder.relative_to(REPOSITORY).as_posix()
    assert f'name = "{folder.name}"' in read(f"{target}/BUILD")
    if folder != PACKAGE:
        assert f'"//{target}"' in read("l2o_tf/BUILD"), "add it to the deps of //l2o_tf"


def in_wheel(file: pathlib.Path) -> bool:
    """Whether setuptools packs a data file: the patterns are relative to its package."""
    folder = next(parent for parent in file.parents if parent in PACKAGE_FOLDERS)
    package = ".".join(folder.relative_to(REPOSITORY).parts)
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]
    relative = file.relative_to(folder)
    return any(
        relative.match(pattern) and len(relative.parts) == pattern.count("/") + 1
        for pattern in [*patterns["*"], *patterns.get(package, [])]
    )


def test_every_data_file_of_the_package_is_in_the_wheel():
    files = [
        path
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and path.name != "BUILD"
    ]
    assert PACKAGE / "data" / "digits.npz" in files
    assert PACKAGE / "py.typed" in files
    assert [f for f in files if not in_wheel(f)] == []
    assert in_wheel(PACKAGE / "pretrained" / "mine" / "rule.npz")
    assert not in_wheel(PACKAGE / "pretrained" / "mine" / "deeper" / "rule.npz")
    assert not in_wheel(PACKAGE / "data" / "mine" / "digits.npz")


def test_what_the_build_copies_is_what_the_package_looks_for(monkeypatch):
    setup = types.ModuleType("setup")
    monkeypatch.setattr("setuptools.setup", lambda **_: None)
    exec(compile((REPOSITORY / "setup.py").read_text(), "setup.py", "exec"), vars(setup))
    assert setup.COPIES.keys() == shipped.FOLDERS.keys()
    for name, pattern in setup.COPIES.items():
        originals = sorted(REPOSITORY.glob(pattern))
        assert originals and {path.parent for path in originals} == {shipped.folder(name)}
        # A source distribution has them, so that a wheel can be made of it.
        assert f"graft {shipped.FOLDERS[name].as_posix()}" in read("MANIFEST.in")


def test_every_command_is_installed():
    for name, target in PYPROJECT["project"]["scripts"].items():
        module, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(module), function)), name


def test_no_source_file_is_longer_than_400_lines():
    sources = [*SOURCES, *BUNDLED.glob("*.py")]
    lengths = {path: len(path.read_text().splitlines()) for path in sources}
    assert {path: length for path, length in lengths.items() if length > 400} == {}


def read(relative: str) -> str:
    return (REPOSITORY / relative).read_text()


def find_python(path: pathlib.Path, **variables: str) -> subprocess.CompletedProcess:
    """Runs `find_python` of common.sh where only the programs in the folder `path` exist."""
    command = f"source '{REPOSITORY}/run_scripts/common.sh'; PATH='{path}'; find_python"
    environment = {"PATH": "/usr/bin:/bin", **variables}
    return subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)


def add_python(path: pathlib.Path, name: str, version: tuple[int, int]) -> pathlib.Path:
    """Writes a stand-in that runs `-c CODE` as if it were Python of that version."""
    program = path / name
    pretend = f"import sys; sys.version_info = {(*version, 0)}; exec(sys.argv[1])"
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c '{pretend}' \"$2\"\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("version", [(3, 10), (3, 13)])
def test_scripts_take_the_default_python_if_it_will_do(tmp_path, version):
    add_python(tmp_path, "python3", version)
    add_python(tmp_path, "python3.12", (3, 12))
    assert find_python(tmp_path).stdout == "python3\n"


@pytest.mark.parametrize("version", [(3, 9), (3, 14), (4, 0)])
def test_scripts_pass_over_an_unsuitable_default_python(tmp_path, version):
    add_python(tmp_path, "python3", version)
    add_python(tmp_path, "python3.12", (3, 12))
    assert find_python(tmp_path).stdout == "python3.12\n"


def test_scripts_say_so_if_there_is_no_suitable_python(tmp_path):
    add_python(tmp_path, "python3", (3, 9))
    result = find_python(tmp_path)
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith("no Python 3.10 to 3.13") and result.stderr.count("\n") == 1


def test_scripts_use_the_python_named_by_the_user_or_none(tmp_path):
    add_python(tmp_path, "python3", (3, 12))
    old = add_python(tmp_path, "old", (3, 9))
    new = add_python(tmp_path, "new", (3, 13))
    assert find_python(tmp_path, PYTHON=str(new)).stdout == f"{new}\n"
    refused = find_python(tmp_path, PYTHON=str(old))
    assert refused.returncode == 1 and refused.stdout == ""
    assert f"PYTHON={old} is not" in refused.stderr


@pytest.mark.parametrize(
    "wanted, chosen",
    [
        ("", "mlp,mlp_relu,conv_mnist"),
        ("mlp", "mlp"),
        ("conv_mnist,mlp", "mlp,conv_mnist"),
        ("lenet", ""),
    ],
)
def test_figures_are_drawn_for_the_optimizees_that_are_wanted(wanted, chosen):
    command = "source run_scripts/common.sh; chosen_optimizees mlp,mlp_relu,conv_mnist"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        env={"PATH": os.environ["PATH"], "OPTIMIZEES": wanted},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{chosen}\n"


@pytest.fixture
def checkout(tmp_path):
    """A checkout whose scripts run a stand-in for Python, which notes where and with what."""
    shutil.copytree(REPOSITORY / "run_scripts", tmp_path / "checkout" / "run_scripts")
    python = tmp_path / "checkout" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\necho \"$PWD: $*\" >>'{tmp_path}/called'\n")
    python.chmod(0o755)
    for copy in ("pyproject.toml", ".venv/installed"):
        (tmp_path / "checkout" / copy).touch()
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "checkout"


def called(checkout: pathlib.Path, script: str, *arguments: str, **variables: str) -> str:
    """What a script, started elsewhere, calls Python with, until it needs what Python wrote."""
    environment = {"PATH": os.environ["PATH"], **variables}
    command = ["bash", str(checkout / "run_scripts" / f"{script}.sh"), *arguments]
    cwd, log = checkout.parent / "elsewhere", checkout.parent / "called"
    log.unlink(missing_ok=True)
    subprocess.run(command, env=environment, cwd=cwd, capture_output=True)
    lines = log.read_text().splitlines()
    assert all(line.startswith(f"{checkout}: ") for line in lines)
    return "\n".join(lines)


@pytest.mark.parametrize(
    "script, default",
    [
        ("docs", "site"),
        ("pretrained", "runs/pretrained"),
        ("quickstart", "runs/quickstart"),
        ("trajectories", "runs/trajectories"),
        ("drift", "runs/drift"),
        ("images", "runs/images"),
        ("lanes", "runs/lanes"),
        ("meta_trained", "runs/meta_trained"),
        ("selection", "runs/selection"),
    ],
)
def test_folders_are_named_from_where_a_script_is_started(checkout, script, default):
    in_checkout = re.compile(rf"[ =]{default}\b")
    text = called(checkout, script)
    assert in_checkout.search(text) and "elsewhere" not in text
    for folder in ("out", f"{checkout.parent}/absolute"):
        text = called(checkout, script, folder, WORKDIR=folder)
        assert str(checkout.parent / "elsewhere" / folder) in text
        assert not in_checkout.search(text) and not (checkout / "out").exists()
