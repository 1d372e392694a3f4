"""Flags from dataclasses: parsing, help, errors."""

import contextlib
import dataclasses
import io
import os
import shlex
import subprocess
import sys

import pytest

from l2o_tf import cli, keras_report
from l2o_tf.core import errors, flags, processes, shipped
from l2o_tf.evaluation.config import EvaluateConfig, SelectConfig, TuneConfig
from l2o_tf.keras_evaluation.config import KerasReportConfig
from l2o_tf.run.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Config:
    name: str = flags.flag("x", "A name.", "Words")
    count: int = flags.flag(3, "A count.", "Numbers")
    rate: float = flags.flag(0.5, "A rate.", "Numbers")
    fast: bool = flags.flag(False, "Be fast.", "Words")
    sizes: tuple[int, ...] = flags.flag((1, 2), "Sizes.", "Numbers")
    rates: tuple[float, ...] | None = flags.flag(None, "Rates.", "Numbers")
    limit: int | None = flags.flag(None, "A limit.", "Numbers", identity=False)
    folder: str | None = flags.flag(None, "A folder.", "Words")
    folders: tuple[str, ...] = flags.flag((), "Folders.", "Words")


def parse(*arguments):
    return cli.parse(Config, ["command", *arguments])


def test_defaults():
    assert parse() == Config()


def test_values_of_every_type(tmp_path):
    expected = Config("y", 4, 0.25, True, (3, 4, 5), (0.0, 1.5), 7)
    arguments = [
        "--name=y",
        "--count=4",
        "--rate=0.25",
        "--fast",
        "--sizes=3, 4,5",
        "--rates=0,1.5",
        "--limit=7",
    ]
    assert parse(*arguments) == expected
    flagfile = tmp_path / "my.flags"
    flagfile.write_text("# A comment.\n" + "\n".join(arguments))
    assert parse(f"--flagfile={flagfile}") == expected
    assert parse(f"--flagfile={flagfile}", "--nofast", "--count=9") == dataclasses.replace(
        expected, fast=False, count=9
    )


def test_a_tilde_at_the_start_of_a_path_is_the_home_directory(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert parse("--folder=~/runs").folder == "/home/me/runs"
    found = parse("--folders=~/a,label=~/b,c=~d,e~f").folders
    assert found == ("/home/me/a", "label=/home/me/b", "c=~d", "e~f")


def test_flagfiles_of_the_package_are_found_by_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shipped, "folder", lambda name: tmp_path / name)
    (tmp_path / "flags").mkdir()
    (tmp_path / "flags" / "small.flags").write_text("--count=5\n--rate=2")
    assert parse("--recipe=small", "--count=6") == Config(count=6, rate=2.0)
    assert parse("--flagfile=small") == parse("--flagfile=small.flags") == parse("--recipe=small")
    (tmp_path / "small").write_text("--count=7")  # A file of this name comes first.
    assert parse("--flagfile=small") == Config(count=7)
    with pytest.raises(errors.InputError, match="--recipe=big: no recipe .*; known: small"):
        parse("--recipe=big")


def test_the_flagfiles_of_this_repository_are_those_of_the_package():
    assert {"l2o_dm_cl_il", "quickstart"} < shipped.flagfiles().keys()
    assert (shipped.folder("published") / "figure2.csv").exists()


@pytest.mark.parametrize("content", [b"\xff\xfe-", b"--count=\xe9", b"--flagfile=my.flags"])
def test_a_flagfile_that_is_no_text_is_one_line(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.flags").write_bytes(content)
    with contextlib.suppress(errors.InputError):
        assert parse("--flagfile=my.flags") == Config()


def test_flags_as_they_would_be_typed():
    config = Config("y", 3, 0.25, True, (3, 4), (0.5,), None)
    typed = flags.to_flags(config)
    assert typed == "--name=y --rate=0.25 --fast --sizes=3,4 --rates=0.5"
    assert parse(*typed.split()) == config


@pytest.mark.parametrize(
    "argument, message",
    [
        ("--nmae=y", "Unknown command line flag 'nmae'. Did you mean: name"),
        ("--count=many", "^flag --count=many must be an integer .--help"),
        ("--rate=a: b", "^flag --rate=a: b must be a number .--help"),
        ("--sizes=1,x", "--sizes=1,x is not a list of integers separated by commas"),
        ("--rates=1,x", "--rates=1,x is not a list of numbers separated by commas"),
        ("--fast=maybe", "^flag --fast=maybe must be true or false .--help"),
        ("name", "unexpected argument 'name'; flags are written as --name=value"),
        ("--flagfile=missing.flags", "^Unable to open flagfile: .* 'missing.flags'"),
    ],
)
def test_wrong_flags_are_reported_in_one_line(argument, message, monkeypatch, capsys):
    with pytest.raises(errors.InputError, match=message.replace("?", ".")):
        parse(argument)
    monkeypatch.setattr(sys, "argv", ["command", argument])
    with pytest.raises(SystemExit) as exit_info:
        cli.run(Config, "A command.", lambda config: 0)
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1


def test_an_argument_that_is_no_text_is_one_line():
    with pytest.raises(errors.InputError, match=r"^'--name=a\\udcff' is no text in UTF-8"):
        parse("--name=a\udcff")


SHOWING = """\
import dataclasses
from l2o_tf import cli

@dataclasses.dataclass(frozen=True)
class Config:
    pass

def main(config):
    cli.show("results")
    return 3

cli.run(Config, "", main)
"""


def show_on(stdout, unbuffered):
    flags_of_python = ["-u"] if unbuffered else []
    return subprocess.run(
        [sys.executable, *flags_of_python, "-c", SHOWING],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("unbuffered", [False, True])
def test_a_full_disk_under_the_results_is_one_line(unbuffered):
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = show_on(full, unbuffered)
    message = "error: cannot write the results to stdout: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, message)


@pytest.mark.parametrize("unbuffered", [False, True])
def test_results_that_nobody_reads_any_more_are_no_failure(unbuffered):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as nobody:
        done = show_on(nobody, unbuffered)
    assert (done.returncode, done.stderr) == (3, "")


def test_results_on_a_closed_stdout_are_dropped(tmp_path):
    script = tmp_path / "showing.py"
    script.write_text(SHOWING)
    done = subprocess.run(
        f"{sys.executable} {script} >&-", shell=True, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (3, "")


def test_a_stdout_without_the_characters_of_the_results_is_one_line(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    with pytest.raises(errors.InputError, match="^stdout takes ascii only: set PYTHONIOENCODING"):
        cli.show("0.5 ± 0.1")


@pytest.mark.parametrize("argument", ["--help", "-h"])
def test_help_is_grouped_with_defaults(argument, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["command", argument])
    with pytest.raises(SystemExit) as exit_info:
        cli.run(Config, "What it does.\n\nexample: command --fast", lambda config: 1)
    assert exit_info.value.code == 0
    page = capsys.readouterr().out
    assert page.startswith("What it does.\n\nexample: command --fast\n\nWords:\n  --name")
    assert "--[no]fast" in page and "A count. [3]" in page and "Sizes. [1,2]" in page
    assert page.index("Words:") < page.index("Numbers:") < page.index("--flagfile=FILE")
    assert max(map(len, page.splitlines())) <= 100


def test_recipes_are_listed_where_they_are_for_the_command():
    @dataclasses.dataclass(frozen=True)
    class WithRecipes(Config):
        HAS_RECIPES = True

    for config, listed in ((Config, False), (WithRecipes, True)):
        assert ("of which NAME is one of l2o_dm," in cli.help_page(config, "")) == listed
        assert (" --recipe= " in cli.completion(config, "x")) == listed


def test_bash_completes_the_flags(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/l2o-train", "--completion"])
    with pytest.raises(SystemExit) as exit:
        cli.run(Config, "A command.", lambda config: 1)
    assert exit.value.code == 0
    line = capsys.readouterr().out
    assert cli.completion(Config, "l2o_tf/train.py") == line
    assert cli.completion(Config, "keras_report.py").endswith(" l2o-keras-report\n")
    asked = f"{line}complete -p l2o-train; compgen -W '{shlex.split(line)[6]}' -- --f"
    bash = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    known, *words = bash.stdout.split("\n")
    assert known.endswith(" l2o-train") and "-o nospace" in known
    assert sorted(words) == ["", "--fast", "--flagfile=", "--folder=", "--folders="]


@pytest.mark.parametrize("returned, code", [(None, 0), (0, 0), (1, 1)])
def test_the_exit_code_is_what_main_returns(returned, code, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(SystemExit) as exit_info:
        cli.run(Config, "", lambda config: returned)
    assert exit_info.value.code == code


def test_ctrl_c_before_a_command_has_begun_is_one_word(monkeypatch, capsys):
    def main(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(SystemExit) as stopped:
        cli.run(Config, "A command.", main)
    assert stopped.value.code == 130
    assert capsys.readouterr().err.strip() == "interrupted"


@dataclasses.dataclass(frozen=True)
class Paths:
    one: str = flags.flag("", "A path.", "X")
    many: tuple[str, ...] = flags.flag((), "Paths.", "X")


def test_home_directories_and_commas_in_names(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    config = cli.parse(Paths, ["p", "--one=~/a,b", r"--many=~/a\,b,x=~/c,d=e~,~"])
    assert config == Paths("/home/me/a,b", ("/home/me/a,b", "x=/home/me/c", "d=e~", "/home/me"))
    typed = shlex.split(flags.to_flags(config))
    assert cli.parse(Paths, ["p", *typed]) == config


@pytest.mark.parametrize(
    "config, shares",
    [
        (TrainConfig(workdir="x", deterministic=True), False),
        (TrainConfig(workdir="x", seeds=(0, 1)), True),
        (TrainConfig(workdir="x", seeds=(0, 1), jobs=2), True),
        (EvaluateConfig(rules=("adam",), workdir="x", tf32=True), False),
        (EvaluateConfig(rules=("adam",), workdir="x", jobs=2), True),
        (SelectConfig(runs=("run",), workdir="x"), False),
        (SelectConfig(runs=("run",), workdir="x", jobs=2), True),
        (TuneConfig(), False),  # It has neither flag.
    ],
)
def test_the_gpu_is_shared_by_commands_that_start_others_before_it_is_opened(
    monkeypatch, config, shares
):
    from l2o_tf.core import devices

    called = []
    monkeypatch.setattr(processes, "share_gpu", lambda: called.append("share"))
    monkeypatch.setattr(cli, "prepare", lambda plugins: called.append(("prepare", plugins)))
    monkeypatch.setattr(devices, "set_up", lambda *how: called.append(("set up", *how)))
    cli.prepare_as(config)
    expected = [("prepare", config.plugins), ("set up", config.deterministic, config.tf32)]
    assert called == (["share", *expected] if shares else expected)


@pytest.mark.parametrize("jobs, expected", [(1, ["prepare"]), (2, ["share", "prepare"])])
def test_a_report_shares_the_gpu_with_its_processes(monkeypatch, jobs, expected):
    from l2o_tf.keras_evaluation import session

    called = []
    monkeypatch.setattr(processes, "share_gpu", lambda: called.append("share"))
    monkeypatch.setattr(cli, "prepare", lambda plugins: called.append("prepare"))
    monkeypatch.setattr(session, "report_on", lambda *_: None)
    keras_report.main(KerasReportConfig(rules=("dm",), jobs=jobs, workdir="report"))
    assert called == expected
