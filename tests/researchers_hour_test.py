"""The page of a researcher's hour runs as it is shown, and shows what is printed."""

import sys

import matplotlib.image
import pytest

from tests import snippets, transcripts

PAGE = "docs/researchers_hour.md"


def test_a_transcript_has_commands_and_the_lines_that_they_print(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "text\n```console\n$ echo one \\\n    two\none two\n...\n^C\n$ ls\n```\n"
        "```bash\nnot run\n```\n```console\n$ pwd\n```\n"
    )
    first, second, third = snippets.transcript(page)
    assert first == snippets.Step("echo one two", ("one two", "...", "^C"))
    assert (second.command, third) == ("ls", snippets.Step("pwd", ()))
    expected = [["echo", "one", "two"], ["ls"], ["pwd"], ["not", "run"]]
    assert snippets.commands(page) == expected


@pytest.mark.parametrize(
    "shown, printed, agree",
    [
        ("epoch 5: loss 2.25", "epoch 5: loss 2.25", True),
        ("epoch 5: loss 2.25", "epoch 5: loss 2.5", True),
        ("epoch 5: loss 2.25", "epoch 5: loss 2.6", False),
        ("epoch 5: loss 2.25", "epoch 6: loss 2.25", False),
        ("epoch 5: loss 2.25", "epoch 5: loss -2.25", False),
        ("epoch 5: loss 2.25", "epoch 5: loss nan", False),
        ("epoch 5: loss 0.98", "epoch 5: loss 1", True),
        ("epoch 5, 2 s left", "epoch 5, 3 s left", False),
        ("epoch 5, ... left", "epoch 5, 00:30 left", True),
        ("epoch 5, ... left", "epoch 6, 00:30 left", False),
        ("a   b", " a b", True),
        ("a   b", "ab", False),
        ("------", "---", True),
        ("loss -9.5 (x)", "loss -10.1 (x)", True),
    ],
)
def test_lines_agree_but_for_elisions_rounding_and_widths(shown, printed, agree):
    assert transcripts.agree(shown, printed) == agree


@pytest.mark.parametrize(
    "shown, missing",
    [
        ("ab", None),
        ("abcd", None),
        ("cd", None),
        ("a.c", None),
        ("ac", "c"),
        ("c.a", "a"),
        (".d.", None),
        ("de", "e"),
        ("a^d", None),
        ("aa", "a"),
    ],
)
def test_lines_are_missing_where_what_is_printed_lacks_them(shown, missing):
    marks = {".": transcripts.ELISION, "^": transcripts.INTERRUPT}
    assert transcripts.missing([marks.get(line, line) for line in shown], "abcd") == missing


def test_a_command_is_interrupted_where_the_page_says_so(tmp_path):
    loop = 'import time\\nprint("ready 7", flush=True)\\ntime.sleep(60)\\nprint("never")'
    command = f"{sys.executable} -c $'{loop}'"
    step = snippets.Step(command, ("ready 7", transcripts.INTERRUPT, "KeyboardInterrupt"))
    lines = transcripts.run(step, tmp_path, transcripts.environment(tmp_path / "bin"))
    assert lines[0] == "ready 7" and "never" not in lines
    assert transcripts.missing(("ready 7", "...", "KeyboardInterrupt"), lines) is None


@pytest.mark.slow  # A dozen commands, most of which compile.
def test_the_hour(tmp_path):
    variables = transcripts.environment(tmp_path / "bin")
    steps = snippets.transcript(PAGE)
    for step in steps:
        lines = transcripts.run(step, tmp_path, variables)
        absent = transcripts.missing(step.shown, lines)
        assert absent is None, f"$ {step.command}\nlacks {absent!r}:\n" + "\n".join(lines)
    assert sum(transcripts.INTERRUPT in step.shown for step in steps) == 1
    assert matplotlib.image.imread(tmp_path / "hour.png")[..., :3].std() > 0.01
