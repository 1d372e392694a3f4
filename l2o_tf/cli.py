"""Command lines from frozen dataclasses whose fields are made with `core.flags.flag`.

They end with exit code 0, 1 for a negative answer, 2 for bad input or 130 for an interrupt, and
never with a traceback for bad input.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import signal
import sys
import textwrap
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from absl import flags

from l2o_tf.core import errors, plugins, processes, shipped, text
from l2o_tf.core import flags as config_flags

WIDTH = 96


def run(config_class: type, description: str, main: Callable[[Any], int | None]) -> None:
    """Parses sys.argv into `config_class`, calls `main` with it and exits.

    Args:
        config_class: a frozen dataclass whose fields are made with `flag`.
        description: the text above the flags in --help: usage, purpose, an example.
        main: what the command does; returns the exit code (None is 0).
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with report_input_errors():
        if any(argument in ("--help", "-h", "-help", "--helpfull") for argument in sys.argv[1:]):
            show(help_page(config_class, description))
            sys.exit(0)
        if "--completion" in sys.argv[1:]:
            show(completion(config_class, sys.argv[0]))
            sys.exit(0)
        try:
            sys.exit(main(parse(config_class, sys.argv)) or 0)
        except errors.Interrupted as interrupt:
            message = f"\ninterrupted: {interrupt}"
        except KeyboardInterrupt:
            # Before a command has begun the work that it can save, such as in its imports.
            message = "\ninterrupted"
        say(message)
        sys.exit(130)


def say(text: str) -> None:
    """Writes a line on stderr: progress and messages, which are no results."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def show(text: str) -> None:
    """Writes results on stdout, a text at a time, which ends a line.

    Where stdout is closed, or what reads it has ended, nobody wants them: they are dropped.

    Raises:
        InputError: if stdout cannot be written, such as on a full disk.
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(text.removesuffix("\n") + "\n")
        sys.stdout.flush()
    except UnicodeEncodeError as error:
        raise errors.InputError(
            f"stdout takes {error.encoding} only: set PYTHONIOENCODING=utf-8"
        ) from None
    except OSError as error:
        # Else Python tries once more when it exits, and ends with another exit code.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return
        raise errors.InputError(
            f"cannot write the results to stdout: {error.strerror or error}"
        ) from None


@contextlib.contextmanager
def report_input_errors() -> Iterator[None]:
    """Turns an InputError into one line on stderr and exit code 2."""
    try:
        yield
    except errors.InputError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        sys.exit(2)


def parse(config_class: type, argv: list[str]) -> Any:
    """Parses a command line, --flagfile included, and imports the plug-ins that it names.

    Arguments without a flag are for the fields that `config_class.ARGUMENTS` names, if it does: a
    list takes all beside those of its flag, and one without a value takes one.

    Raises:
        InputError: for an unknown flag, a value of the wrong type or one out of range, an argument
            that no field takes or is no text, or a plug-in that cannot be imported.
    """
    for argument in argv:
        if not text.is_utf8(argument):  # A path of the file system, which takes any bytes.
            raise errors.InputError(f"{ascii(argument)} is no text in UTF-8: use another name")
    values = flags.FlagValues()
    values.set_gnu_getopt()  # Flags may follow arguments without one.
    for field in dataclasses.fields(config_class):
        _define(field, values)
    argv = _with_shipped_flagfiles(argv)
    try:
        rest = _take_arguments(config_class, values, values(argv)[1:])
    except UnicodeDecodeError as error:
        raise errors.InputError(f"a flagfile is no text in UTF-8: {error}") from None
    except (flags.Error, OSError, ValueError, RecursionError) as error:
        reason = _in_plain_words(str(error))
        raise errors.InputError(f"{reason} (--help lists the flags)") from None
    if rest:
        raise errors.InputError(
            f"unexpected argument {rest[0]!r}; flags are written as --name=value"
        )
    given = {
        field.name: _from_flag(field, values[field.name].value)
        for field in dataclasses.fields(config_class)
    }
    if "plugins" in given:
        given["plugins"] = plugins.requested(given["plugins"])
        if given["plugins"]:
            # Processes that train together have to find each other before devices are opened.
            prepare(given["plugins"], given.get("strategy") != "multi_worker")
    return config_class(**given)


def help_page(config_class: type, description: str) -> str:
    """The text of --help: the description, then the flags by group with their defaults."""
    lines = [description.strip(), ""]
    groups: dict[str, list[dataclasses.Field]] = {}
    for field in dataclasses.fields(config_class):
        groups.setdefault(field.metadata["group"], []).append(field)
    for group, fields in groups.items():
        lines.append(f"{group}:")
        for field in fields:
            lines += _help_lines(field)
        lines.append("")
    lines += [
        "Flags can also be read from a file, one per line: --flagfile=FILE",
        "A comma within an item of a list is written as \\,",
        'Completion of flags in bash: eval "$(l2o-train --completion)"',
    ]
    if _has_recipes(config_class):
        recipes = ", ".join(shipped.flagfiles())
        text = (
            f"Recipes that come with the package: --recipe=NAME, of which NAME is one of {recipes}"
        )
        lines += textwrap.wrap(text, WIDTH)
    return "\n".join([*lines, ""])


def completion(config_class: type, program: str) -> str:
    """A line for bash, or zsh with bashcompinit, that completes the flags of a command and files.

    Args:
        config_class: as for `run`.
        program: the path of the running program, l2o-train or .../train.py.
    """
    name = "l2o-" + pathlib.Path(program).stem.removeprefix("l2o-").replace("_", "-")
    words = ["--help", "--flagfile=", *["--recipe="] * _has_recipes(config_class)]
    for field in dataclasses.fields(config_class):
        is_switch = config_flags.kind(field) is bool
        names = [field.name, f"no{field.name}"] if is_switch else [f"{field.name}="]
        words += [f"--{name}" for name in names]
    return f"complete -o nospace -o default -W '{' '.join(words)}' {name}\n"


def prepare(plugin_names: Iterable[str], open_devices: bool = True) -> None:
    """Imports TensorFlow, quietly, and plug-ins, as a process of the command needs them.

    Raises:
        InputError: for a plug-in that cannot be imported.
    """
    import_tensorflow_quietly(open_devices)
    plugins.load(plugin_names)


def prepare_as(config: Any) -> None:
    """`prepare` for the flags of a command, those of devices included where it has them."""
    if getattr(config, "jobs", 1) > 1 or getattr(config, "seeds", ()):
        processes.share_gpu()  # With the processes that it starts.
    prepare(config.plugins)
    if hasattr(config, "tf32"):
        from l2o_tf.core import devices

        devices.set_up(config.deterministic, config.tf32)


@contextlib.contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether Ctrl-C or SIGTERM came; the second one interrupts."""
    came: list[int] = []

    def note(number, frame):
        if came:
            signal.default_int_handler(number, frame)
        came.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def import_tensorflow_quietly(open_devices: bool = True) -> None:
    """Imports TensorFlow and opens its devices without its messages.

    Those of its C++ side are written to file descriptor 2 before any log level applies. Python's
    warnings are for those who write code: of many optimizees, that a function is traced often.
    Errors are not affected.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quietly():
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
        if open_devices:
            tf.config.list_logical_devices()


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Lets nothing through to file descriptor 2."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def _with_shipped_flagfiles(argv: list[str]) -> list[str]:
    """Arguments in which --recipe=NAME, and --flagfile=NAME of no file, name a shipped flagfile."""
    known = shipped.flagfiles()
    found = []
    for argument in argv:
        flag, _, name = argument.partition("=")
        flag = flag.removeprefix("-").removeprefix("-")
        is_flag = argument.startswith("-") and flag in ("recipe", "flagfile")
        path = known.get(name.removesuffix(".flags"))
        if is_flag and flag == "recipe" and path is None:
            raise errors.InputError(
                f"--recipe={name}: no recipe of this name; known: {', '.join(known) or 'none'}"
            )
        if is_flag and path is not None and (flag == "recipe" or not os.path.exists(name)):
            argument = f"--flagfile={path}"
        found.append(argument)
    return found


def _has_recipes(config_class: type) -> bool:
    """Whether the flagfiles of the package are for the command."""
    return getattr(config_class, "HAS_RECIPES", False)


def _take_arguments(
    config_class: type, values: flags.FlagValues, arguments: list[str]
) -> list[str]:
    """Makes arguments without a flag the values of those that take them; returns those left."""
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    for name in getattr(config_class, "ARGUMENTS", ()):
        flag = values[name]
        if typing.get_origin(config_flags.kind(fields[name])) is tuple:
            flag.value, arguments = ",".join(filter(None, [flag.value, *arguments])), []
        elif arguments and not flag.value:
            flag.value, *arguments = arguments
    return arguments


def _in_plain_words(message: str) -> str:
    """An error of absl whose reason may be Python's of a number that is none."""
    for reason, expected in (
        ("invalid literal for int", "an integer"),
        ("could not convert string to float", "a number"),
        (r"\('Non-boolean argument", "true or false"),
    ):
        message = re.sub(f": {reason}.*", f" must be {expected}", message, flags=re.DOTALL)
    return message.removeprefix("ERROR:: ")


def _help_lines(field: dataclasses.Field) -> list[str]:
    default = config_flags.to_text(field.default)
    name = f"  --[no]{field.name}" if config_flags.kind(field) is bool else f"  --{field.name}"
    text = field.metadata["help"] + (f" [{default}]" if default else "")
    wrapped = textwrap.wrap(text, WIDTH - 26, break_on_hyphens=False)
    if len(name) > 24:
        return [name, *(" " * 26 + line for line in wrapped)]
    return [name.ljust(26) + wrapped[0], *(" " * 26 + line for line in wrapped[1:])]


def _define(field: dataclasses.Field, values: flags.FlagValues) -> None:
    kind = config_flags.kind(field)
    define = {bool: flags.DEFINE_boolean, int: flags.DEFINE_integer, float: flags.DEFINE_float}
    if kind in define:
        define[kind](field.name, field.default, field.metadata["help"], flag_values=values)
        return
    default = None if field.default is None else config_flags.to_text(field.default)
    flags.DEFINE_string(field.name, default, field.metadata["help"], flag_values=values)


def _from_flag(field: dataclasses.Field, value: Any) -> Any:
    kind = config_flags.kind(field)
    if kind is str and value is not None:
        return _at_home(value)
    if value is None or typing.get_origin(kind) is not tuple:
        return value
    item = typing.get_args(kind)[0]
    parts = config_flags.split_list(value)
    try:
        return tuple(map(_at_home if item is str else item, parts))
    except ValueError:
        expected = {int: "integers", float: "numbers"}[item]
        raise errors.InputError(
            f"--{field.name}={value} is not a list of {expected} separated by commas"
        ) from None


def _at_home(text: str) -> str:
    """Expands a ~ at the beginning of a path or behind "label=", where no shell does."""
    label, equals, path = text.partition("=")
    if equals and path.startswith("~"):
        return label + equals + os.path.expanduser(path)
    return os.path.expanduser(text)
