"""Every command, flag, name, link and piece of Python in README and docs is real."""

import ast
import contextlib
import importlib
import pathlib
import re
import shlex
import sys

import keras
import matplotlib
import numpy as np
import pytest

from l2o_tf import artifacts, cli, rules
from l2o_tf.core import errors, plugins, shipped
from l2o_tf.optimizees.base import OPTIMIZEES
from l2o_tf.optimizees.scale import problem_sets
from l2o_tf.rules.base import RULES
from l2o_tf.run.config import TrainConfig
from tests import packaging_test, snippets

PAGES = [snippets.name_of(page) for page in snippets.PAGES]
# Tests of their own run these pages' Python as it stands.
RUN_ELSEWHERE = {
    "README.md": "readme_test.py",
    "docs/extending.md": "extending_test.py",
    "docs/tutorial.md": "tutorial_test.py",
}
# Flags of all commands, and of other programs: pip, pytest, TensorBoard, Docker, ruff, git,
# run_bundle.py.
FOREIGN_FLAGS = {
    "--benchmark",
    "--inspect",
    "--check",
    "--completion",
    "--editable",
    "--file",
    "--flagfile",
    "--gpus",
    "--help",
    "--logdir",
    "--recipe",
    "--resume",
    "--rm",
    "--seconds",
    "--strict",
    "--tag",
    "--tf32",
    "--volume",
}
OTHER_COMMANDS = {"bazel", "cd", "docker", "git", "grep", "head", "pip", "tensorboard"}


COMMANDS = {module: snippets.config_class(module) for module in snippets.command_modules()}
KNOWN_FLAGS = {f"--{name}" for config in COMMANDS.values() for name in config.__dataclass_fields__}


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """The plug-in of docs/extending.md in the current directory; its names do not stay."""
    for registry in (RULES, OPTIMIZEES):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    code = "\n".join(block.code for block in snippets.blocks("docs/extending.md", "python"))
    (tmp_path / "my_file.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(cli, "prepare", lambda names, *_: plugins.load(names))
    yield
    sys.modules.pop("my_file", None)


def test_all_commands_are_found():
    assert {"train", "evaluate", "tune", "select", "plot", "compare", "publish", "export"} <= {
        name.removeprefix("l2o_tf.") for name in COMMANDS
    }


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_one_that_its_program_takes(page, plugin, monkeypatch):
    monkeypatch.setattr(shipped, "folder", lambda name: snippets.REPOSITORY / shipped.FOLDERS[name])
    for words in commands(page):
        while re.fullmatch(r"\w+=.*", words[0]):  # Environment variables.
            words = words[1:]
        if snippets.module_of(words):
            if words[-1] != "--help":
                with at_the_repository(monkeypatch, words):
                    snippets.parse(words)
        elif words[0].startswith("run_scripts/"):
            assert (snippets.REPOSITORY / words[0]).stat().st_mode & 0o100, words
        elif words[0] == "pip" or words[1:4] == ["-m", "pip", "install"]:
            extras = re.findall(r"\[([\w,]+)\]", " ".join(words))
            known = packaging_test.PYPROJECT["project"]["optional-dependencies"]
            assert set(",".join(extras).split(",")) - {""} <= known.keys(), words
        else:
            runs_a_module = words[:2] == ["python", "-m"] and words[2] in ("pytest", "venv")
            own = words[0] in ("python", ".venv/bin/python", ".venv/bin/pre-commit", "source")
            assert runs_a_module or own or words[0] in OTHER_COMMANDS, words


def commands(page):
    """The words of every command in the blocks and the text of a page."""
    inline = [code for code in snippets.inline_code(page) if re.match(r"python -m l2o_tf\.", code)]
    inline = [shlex.split(code) for code in inline]
    # In the text a command may be a mere name, or leave out what does not matter.
    inline = [[w for w in words if not w.endswith("...")] for words in inline if len(words) > 3]
    return snippets.commands(page) + inline


def test_evaluations_of_one_directory_may_share_it():
    identities = {}
    for page in set(PAGES) - {"docs/extending.md"}:  # Which works in the folder of its plug-in.
        for words in commands(page):
            given = {word.partition("=")[0] for word in words}
            if snippets.module_of(words) == "l2o_tf.evaluate" and {"--rules", "--workdir"} <= given:
                config = snippets.parse(words)
                identities.setdefault(config.workdir, []).append(config.identity())
    assert len(identities) > 5
    assert not [name for name, found in identities.items() if any(i != found[0] for i in found)]


@contextlib.contextmanager
def at_the_repository(monkeypatch, words):
    """In the checkout, where flags/ is, unless a command is about the reader's plug-in."""
    with monkeypatch.context() as patch:
        if not any(word.startswith("--plugins") for word in words):
            patch.chdir(snippets.REPOSITORY)
        yield


@pytest.mark.parametrize("page", PAGES)
def test_every_flag_is_one_of_a_command(page):
    named = set()
    for code in snippets.inline_code(page):
        named |= set(re.findall(r"(?<![\w-])--[a-z]\w+(?![\w-])", code))
    assert {flag for flag in named if not known(flag)} == set()


def known(flag):
    return flag in KNOWN_FLAGS | FOREIGN_FLAGS or flag.replace("--no", "--", 1) in KNOWN_FLAGS


@pytest.mark.parametrize("page", PAGES)
def test_every_value_of_a_flag_is_one_that_a_command_takes(page):
    for code in snippets.inline_code(page):
        for name, value in re.findall(r"^--(\w+)=(\S+)$", code):
            configs = [c for c in COMMANDS.values() if name in c.__dataclass_fields__]
            value = value.split("\\|")[0].strip("'")
            if re.fullmatch("[A-Z]+", value):  # A word for what the reader puts there.
                continue
            refused = [message for c in configs if (message := refusal(c, name, value))]
            assert not configs or len(refused) < len(configs), refused


def refusal(config_class, name, value):
    """Why a command does not take a value of a flag, other flags being as they have to be."""
    needed = ["--curriculum"] if name in ("curriculum_steps", "validation_steps") else []
    try:
        cli.parse(config_class, ["command", f"--{name}={value}", *needed])
    except errors.InputError as error:
        if re.match(rf"(flag )?--{name}=", str(error)) and " needs --" not in str(error):
            return str(error)
    return None


@pytest.mark.parametrize("page", PAGES)
def test_every_name_of_the_package_exists(page):
    named = set()
    for code in [*snippets.inline_code(page), *(b.code for b in snippets.blocks(page))]:
        named |= set(re.findall(r"(?<![\w./\"])l2o_tf(?:\.[A-Za-z_]\w*)+(?![\w/])", code))
    for name in named:
        if not re.search(r"\.(py|json|npz|md)$", name):
            resolve(name)


def resolve(name):
    found = importlib.import_module("l2o_tf")
    path = "l2o_tf"
    for part in name.split(".")[1:]:
        path = f"{path}.{part}"
        if not hasattr(found, part):
            importlib.import_module(path)
        found = getattr(found, part)


@pytest.mark.parametrize("page", PAGES)
def test_every_path_and_link_leads_somewhere(page):
    text, folder = snippets.prose(page), (snippets.REPOSITORY / page).parent
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = folder / path if path else snippets.REPOSITORY / page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target
    for path in re.findall(r"`((?:l2o_tf|tests|docs|flags|run_scripts|data)/[\w./]+\.\w+)`", text):
        if "NAME" not in path:
            assert (snippets.REPOSITORY / path).exists(), path
    for path in re.findall(r"(?:flags|run_scripts)/\w+\.(?:flags|sh)", snippets.read(page)):
        assert (snippets.REPOSITORY / path).exists(), path


def anchors(file):
    """The anchors of a page's headings, as GitHub and MkDocs make them."""
    titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", t).strip().lower().replace(" ", "-") for t in titles}


@pytest.mark.parametrize("page", [p for p in PAGES if p not in RUN_ELSEWHERE])
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    code = "\n".join(block.code for block in snippets.blocks(page, "python"))
    if not code:
        return
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    artifacts.save_rule(tmp_path / "runs" / "quickstart", rules.create("rnnprop"))
    exec(compile(code, page, "exec"), a_small_training())


def a_small_training():
    """What pages take as given: a Keras model of three classes, data for it, other batches."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 96)
    x = (np.eye(3)[y] @ rng.normal(size=[3, 4]) + 0.1 * rng.normal(size=[96, 4])).astype("float32")
    model = keras.Sequential([keras.Input([4]), keras.layers.Dense(3, "softmax")])
    batches = [(rng.normal(size=[8, 64]).astype("float32"), rng.integers(0, 10, 8))]
    return {"model": model, "x_train": x, "y_train": y, "batches": batches}


@pytest.mark.parametrize("page", RUN_ELSEWHERE)
def test_pages_that_are_run_elsewhere_are_valid_python(page):
    test = (snippets.REPOSITORY / "tests" / RUN_ELSEWHERE[page]).read_text(encoding="utf-8")
    assert pathlib.Path(page).name in test
    for block in snippets.blocks(page, "python"):
        ast.parse(block.code)


def test_every_flag_of_training_is_explained():
    text = "".join(map(snippets.read, PAGES))
    assert [n for n in TrainConfig.__dataclass_fields__ if f"--{n}" not in text] == []


def test_every_optimizee_and_problem_set_is_named():
    text = "".join(map(snippets.read, PAGES))
    for name in [*OPTIMIZEES.names(), *problem_sets.PROBLEM_SETS.names()]:
        assert f"`{name}`" in text, name
