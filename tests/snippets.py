"""What pages of documentation show: their code blocks, commands, flags, names and links."""

import pathlib
import re
import runpy
import shlex
import sys
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

from l2o_tf import cli

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    code: str


class Step(NamedTuple):
    """A command of a transcript and the lines of its output that are shown."""

    command: str
    shown: tuple[str, ...]


def read(page: str | pathlib.Path) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


def name_of(page: pathlib.Path) -> str:
    """The path of a page in the repository."""
    return page.relative_to(REPOSITORY).as_posix()


def blocks(page: str | pathlib.Path, language: str | None = None) -> list[Block]:
    """The fenced blocks of a page, of one language or of all."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", read(page), re.DOTALL | re.MULTILINE)
    return [Block(*block) for block in found if language in (None, block[0])]


def prose(page: str | pathlib.Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```\w*\n.*?^```$", "", read(page), flags=re.DOTALL | re.MULTILINE)


def inline_code(page: str | pathlib.Path) -> list[str]:
    """What stands between single backticks, on one line each."""
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(page))]


def commands(page: str | pathlib.Path) -> list[list[str]]:
    """The words of every command in the shell blocks of a page, comments left out."""
    found = [step.command for step in transcript(page)]
    for block in blocks(page, "bash"):
        found += block.code.replace("\\\n", " ").splitlines()
    return [words for command in found if (words := shlex.split(command, comments=True))]


def transcript(page: str | pathlib.Path) -> list[Step]:
    """The commands of a page's console blocks, which follow "$ ", each with what is below it."""
    found = []
    for block in blocks(page, "console"):
        for part in re.split(r"^\$ ", block.code, flags=re.MULTILINE)[1:]:
            command, *lines = re.sub(r"\\\n\s*", "", part).splitlines()
            found.append(Step(command, tuple(line for line in lines if line.strip())))
    return found


def module_of(words: list[str]) -> str | None:
    """The module that a command runs, by `python -m` or by an installed name, if it is ours."""
    if words[:2] == ["python", "-m"] and words[2].startswith("l2o_tf."):
        return words[2]
    installed = re.fullmatch(r"l2o-(\w+)", words[0])
    return f"l2o_tf.{installed.group(1)}" if installed else None


def command_modules() -> list[str]:
    """The modules that are commands."""
    found = []
    for path in sorted((REPOSITORY / "l2o_tf").rglob("*.py")):
        if "cli.run(" in path.read_text(encoding="utf-8") and path.name != "cli.py":
            parts = path.relative_to(REPOSITORY).with_suffix("").parts
            found.append(".".join(part for part in parts if part != "__main__"))
    return found


def call_command(module: str, arguments: list[str], run: Callable) -> None:
    """Runs a command's main program with `run` in place of `cli.run`."""
    # A module that is imported already makes runpy warn.
    imported = {name: sys.modules.pop(name, None) for name in (module, f"{module}.__main__")}
    with mock.patch.object(cli, "run", run), mock.patch.object(sys, "argv", [module, *arguments]):
        runpy.run_module(module, run_name="__main__")
    sys.modules.update({name: found for name, found in imported.items() if found})


def config_class(module: str) -> type:
    """The class whose fields are a command's flags."""
    found: list[type] = []
    call_command(module, [], lambda config_class, *_: found.append(config_class))
    return found[0]


def parse(words: list[str]) -> Any:
    """The configuration that a command of this package gets, by its own command line.

    Raises:
        InputError: if it refuses a flag.
    """
    parsed: list[Any] = []
    module = module_of(words)
    assert module is not None
    arguments = words[3:] if words[0] == "python" else words[1:]
    call_command(
        module, arguments, lambda config_class, *_: parsed.append(cli.parse(config_class, sys.argv))
    )
    return parsed[0]
