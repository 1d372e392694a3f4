"""Registries: names, facts, and where a name comes from."""

import pytest

from l2o_tf.core import errors, registry
from l2o_tf.rules.base import RULES


def example():
    table = registry.Registry("toy", colour="red", wheels=4)

    @table.register("car")
    def make_car(size):
        return ("car", size)

    table.register("bike", wheels=2)(lambda size: ("bike", size))
    return table, make_car


def test_entries_are_found_and_made_by_name():
    table, make_car = example()
    assert table.names() == ["car", "bike"]
    assert table.get("car") is make_car and table.create("bike", 3) == ("bike", 3)
    assert table.name_of(make_car) == "car" and table.name_of(print) is None
    with pytest.raises(errors.InputError, match="unknown toy 'boat'; known: car, bike; .*--plug"):
        table.get("boat")


def test_facts_are_stated_or_the_default():
    table, _ = example()
    assert [table.fact(name, "wheels") for name in table.names()] == [4, 2]
    assert [table.fact(name, "colour") for name in table.names()] == ["red", "red"]
    with pytest.raises(errors.InputError, match="unknown toy 'boat'"):
        table.fact("boat", "wheels")


def test_a_mistaken_registration_is_an_error_of_the_programmer():
    table, make_car = example()
    with pytest.raises(ValueError, match="toy 'car' is registered twice"):
        table.register("car")(make_car)
    with pytest.raises(TypeError, match=r"toy 'van' is registered with unknown \['doors'\]"):
        table.register("van", doors=5)
    assert table.names() == ["car", "bike"]


def test_a_cell_of_a_notebook_may_run_again():
    table, cell = registry.Registry("toy", wheels=4), {"__name__": "__main__"}
    for wheels in (3, 2):
        exec(f"def make_bike():\n    return {wheels}\n", cell)
        table.register("bike", wheels=wheels)(cell["make_bike"])
    assert (table.create("bike"), table.fact("bike", "wheels"), table.names()) == (2, 2, ["bike"])
    exec("def make_other():\n    return 1\n", cell)
    with pytest.raises(ValueError, match="toy 'bike' is registered twice"):
        table.register("bike")(cell["make_other"])


def test_a_name_knows_the_module_that_files_it():
    table, make_car = example()
    assert table.plugin("car") == make_car.__module__ and table.plugin("boat") is None
    assert RULES.plugin("adam") is None


def test_a_file_may_say_which_plugin_a_name_needs_and_nothing_is_imported():
    table, _ = example()
    table.require("car", "no_such_module")
    table.require("boat", None)  # What is wrong is said where it is used.
    for damaged in (3, ["x"], "not a module", "os; import sys", ""):
        table.require("boat", damaged)
    table.require(["boat"], "this")
    message = (
        "unknown toy 'boat': the plug-in this registers it: add --plugins=this, or import it in "
        "Python"
    )
    with pytest.raises(errors.InputError) as raised:
        table.require("boat", "this")
    assert str(raised.value) == message
