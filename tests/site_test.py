"""The documentation site, which CI builds strictly: its reference, links between its pages."""

import importlib.util
import re
import types

import pytest

import l2o_tf
from l2o_tf.optimizees.base import OPTIMIZEES
from l2o_tf.rules.base import RULES
from tests import snippets

REFERENCE = snippets.REPOSITORY / "docs" / "reference"
SHOWN = {
    name
    for page in REFERENCE.glob("*.md")
    for name in re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
}


def undocumented(thing):
    """The public names in a module or class, itself included, that have no docstring."""
    found = []
    if not thing.docstring:
        found.append(thing.path)
    for member in thing.members.values():
        if member.is_alias or member.name.startswith("_") or member.is_module:
            continue
        if member.is_class:
            found += undocumented(member)
        elif member.is_function or "property" in member.labels:
            bases = thing.mro() if thing.is_class else []
            inherited = any(
                base.members[member.name].docstring for base in bases if member.name in base.members
            )
            if not (member.docstring or inherited):
                found.append(member.path)
    return found


@pytest.fixture(scope="module")
def package():
    griffe = pytest.importorskip("griffe", reason="needs the extra docs")
    return griffe.load("l2o_tf", search_paths=[snippets.REPOSITORY], allow_inspection=False)


def test_everything_in_the_reference_is_documented(package):
    assert len(SHOWN) > 60
    found = []
    for name in sorted(SHOWN):
        found += undocumented(package[name.removeprefix("l2o_tf.")])
    assert found == []


def test_a_name_without_docstring_is_found():
    griffe = pytest.importorskip("griffe", reason="needs the extra docs")
    code = '"M."\nclass A:\n  "A."\n  def f(self): "f"\n  def g(self): pass\n  def _h(self): pass\n'
    code += "class B(A):\n  def f(self): pass\n  @property\n  def p(self): pass\ndef h(): pass\n"
    with griffe.temporary_visited_module(code, module_name="m") as module:
        assert undocumented(module) == ["m.A.g", "m.B", "m.B.p", "m.h"]


def test_every_name_that_the_package_gives_is_in_the_reference():
    for name in l2o_tf.__all__:
        home = l2o_tf._MODULES.get(name) or f"{l2o_tf._HOMES[name]}.{name}"
        assert home in SHOWN or home.rpartition(".")[0] in SHOWN, name


def test_every_rule_and_optimizee_that_has_a_name_is_in_the_reference():
    for registry in (RULES, OPTIMIZEES):
        for name in registry.names():
            assert registry.get(name).__module__ in SHOWN, name


@pytest.fixture(scope="module")
def hook():
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    path = snippets.REPOSITORY / "docs" / "hooks" / "beside_docs.py"
    spec = importlib.util.spec_from_file_location("beside_docs", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "page, link, expected",
    [
        ("tutorial.md", "[R](../README.md#in-keras)", "[R](start.md#in-keras)"),
        ("scale.md", "[R](../data/results/README.md)", "[R](results/README.md)"),
        ("scale.md", "[R](../data/results/benchmark)", "R"),
        ("start.md", "[R](data/results)", "[R](results/README.md)"),
        ("start.md", "[N](docs/notebooks)", "N"),
        ("start.md", "![F](docs/quickstart.png)", "![F](quickstart.png)"),
        ("results/README.md", "![F](trained/figure2.png)", "![F](trained/figure2.png)"),
        ("results/README.md", "[F](candidates/README.md)", "[F](candidates/README.md)"),
        ("project/changelog.md", "[D](docs/scale.md)", "[D](../scale.md)"),
        ("project/changelog.md", "[D](CONTRIBUTING.md)", "[D](contributing.md)"),
        ("tutorial.md", "[D](debugging.md)", "[D](debugging.md)"),
        ("tutorial.md", "[D](missing.md)", "[D](missing.md)"),
        ("tutorial.md", "[D](https://arxiv.org/abs/1)", "[D](https://arxiv.org/abs/1)"),
        ("tutorial.md", "[D](#two)", "[D](#two)"),
        ("scale.md", r"| `a\|b` | c \| d |", r"| `a|b` | c \| d |"),
    ],
)
def test_pages_are_written_for_the_repository_and_shown_on_the_site(hook, page, link, expected):
    page = types.SimpleNamespace(file=types.SimpleNamespace(src_uri=page))
    assert hook.on_page_markdown(link, page, None, None) == expected


def test_guides_that_the_navigation_does_not_name_are_at_its_end(hook):
    config = types.SimpleNamespace(nav=[{"Guides": [{"T": "tutorial.md"}]}, {"X": "index.md"}])
    first, *added = hook.on_config(config).nav[0]["Guides"]
    assert first == {"T": "tutorial.md"} and added == sorted(added)
    assert "debugging.md" in added and not {"tutorial.md", "index.md"} & set(added)


def test_the_script_builds_strictly():
    script = snippets.read("run_scripts/docs.sh")
    (command,) = re.findall(r"-m (mkdocs .*?) 2>&1", script)
    assert "--strict" in command.split() and "--quiet" not in command  # Which unsets it.
