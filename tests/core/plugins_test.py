"""Plug-ins: what is imported, when, and what is said if it cannot be."""

import dataclasses
import importlib
import operator
import pathlib
import re
import sys

import pytest

from l2o_tf import cli
from l2o_tf.core import errors, flags, plugins

PACKAGE = pathlib.Path(cli.__file__).parent


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Modules where Python finds them; they are forgotten afterwards."""
    files = {
        "my_plugin": "def make():\n    return 3\nnumber = 5\n",
        "my_other_plugin": "",
        "my_broken_plugin": "raise SystemExit('leaves\\nat once')\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in files:
        sys.modules.pop(name, None)


def test_the_command_line_and_the_environment_name_plugins(modules, monkeypatch):
    monkeypatch.setenv("L2O_TF_PLUGINS", " my_other_plugin, ")
    config = cli.parse(flags.CommandFlags, ["command", "--plugins=my_plugin,my_other_plugin"])
    assert config.plugins == ("my_other_plugin", "my_plugin")
    assert {"my_plugin", "my_other_plugin"} <= sys.modules.keys()
    assert flags.to_flags(config) == "--plugins=my_other_plugin,my_plugin"


def test_an_installed_command_finds_plugins_in_the_current_directory(tmp_path, monkeypatch):
    (tmp_path / "my_plugin_here.py").write_text("def make():\n    return 7\n")
    monkeypatch.chdir(tmp_path)
    # Of a command in a folder of its own, sys.path begins with that folder.
    monkeypatch.setattr(sys, "path", [str(tmp_path / "bin"), *filter(None, sys.path)])
    assert plugins.attribute("my_plugin_here:make", "toy", "function", "")() == 7
    assert sys.path[0] == str(tmp_path / "bin") and sys.path[-1] == str(tmp_path)
    del sys.modules["my_plugin_here"]


@pytest.mark.parametrize(
    "name, message",
    [
        ("my_file.py", "plug-in 'my_file.py': cannot import my_file.py (ModuleNotFoundError"),
        ("../my_plugin", "plug-in '../my_plugin' is no name of a module, such as my_file for"),
        ("my_broken_plugin", "cannot import my_broken_plugin (SystemExit: leaves at once)"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_one_line(modules, name, message):
    with pytest.raises(errors.InputError) as raised:
        cli.parse(flags.CommandFlags, ["command", f"--plugins={name}"])
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_what_a_module_holds_is_found_by_name(modules):
    def find(spec):
        return plugins.attribute(spec, "toy", "function", "define {}()")

    assert find("my_plugin:make")() == 3
    for spec, message in {
        "my_plugin:number": "toy 'my_plugin:number': my_plugin has no function 'number'; define n",
        "my_plugin:no": "my_plugin has no function 'no'; define no()",
        "my_plugin": "toy 'my_plugin' is not of the form module:function",
        "no_such:make": "cannot import no_such (ModuleNotFoundError",
    }.items():
        with pytest.raises(errors.InputError) as raised:
            find(spec)
        assert message in str(raised.value)


def test_a_file_that_names_plugins_imports_none_of_them(modules):
    with pytest.raises(errors.InputError, match=r"^the run needs the plug-in my_plugin: add --pl"):
        plugins.require(["my_plugin"], "the run")
    assert "my_plugin" not in sys.modules
    plugins.load(["my_plugin"])
    plugins.require(["my_plugin"], "the run")
    for damaged in (None, 3, {"my_other_plugin": 1}, [3, "not a module", ["my_other_plugin"]]):
        plugins.require(damaged, "the run")
    assert "my_other_plugin" not in sys.modules


def test_the_home_of_a_class_is_a_name_to_import():
    assert plugins.home(flags.CommandFlags) is None
    assert plugins.home(pytest.fixture) == "_pytest.fixtures"


def test_every_command_takes_plugins():
    checked = []
    for path in [*PACKAGE.glob("*.py"), PACKAGE / "export" / "__main__.py"]:
        for name in re.findall(r"cli\.run\(([\w.]+)", path.read_text(encoding="utf-8")):
            module = ".".join(("l2o_tf", *path.relative_to(PACKAGE).with_suffix("").parts))
            config = operator.attrgetter(name)(importlib.import_module(module))
            assert "plugins" in {field.name for field in dataclasses.fields(config)}, module
            checked.append(module)
    assert len(checked) >= 9
