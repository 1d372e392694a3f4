"""Compares two results: `python -m l2o_tf.compare A B`."""

import dataclasses
import pathlib
import sys

from l2o_tf import cli
from l2o_tf.core import errors, files, flags
from l2o_tf.evaluation import comparison, figures, results, sources

DESCRIPTION = """\
Compares two results series by series: where they differ, by how much, and whether that is more
than chance over seeds.

usage: python -m l2o_tf.compare A B [flags]

A and B are each one of
  DIR[:OPTIMIZEE[:RULE]]     results written by evaluate, or a run directory that holds some
  CSV[:PANEL[:SERIES]]       published curves, such as data/published/figure2.csv:MLP-orig:L2O-DM
  RECORD[,RECORD...]         loss records of the legacy code; several count as seeds of one series

example: python -m l2o_tf.compare runs/mine data/published/figure2.csv --tolerance=0.5 --out=diff
         python -m l2o_tf.compare runs/mine:mlp:dm L2L_eval_loss_record.pickle-mnist

Exit code: 0 if every common series agrees within the tolerance, 1 if one differs, 2 for bad
input. Two series agree if the same share of their runs diverges, ln loss over all windows differs
by no more than the tolerance, and no window is both beyond it and significant. A window is
significant if Welch's interval over seeds, at 5 % over all windows together (Bonferroni), excludes
0. One run, or a published mean of ten, borrows the other side's spread; where neither side has two
runs nothing is significant, and every window must be within the tolerance."""

_MAX_NAMED = 5


@dataclasses.dataclass(frozen=True)
class CompareConfig(flags.CommandFlags):
    """The flags of `python -m l2o_tf.compare`.

    Raises:
        InputError: if a side is missing or a number is out of range.
    """

    a: str = flags.flag("", "The first result; the first argument without a flag.", "Input")
    b: str = flags.flag("", "The second result; the second argument without a flag.", "Input")
    window: int = flags.flag(
        results.WINDOW, "Steps per window; published curves need the default.", "Input"
    )
    tolerance: float = flags.flag(
        comparison.DEFAULT_TOLERANCE,
        "The largest acceptable difference in ln loss: 0.25 is a quarter more or less.",
        "Criterion",
    )
    out: str | None = flags.flag(
        None,
        "A directory for comparison.txt, differences.csv and a PNG per series. Default: none.",
        "Output",
    )

    def __post_init__(self):
        if not (self.a and self.b):
            raise errors.InputError("two results are needed: python -m l2o_tf.compare A B")
        if self.window < 1:
            raise errors.InputError(f"--window={self.window} must be at least 1")
        if not self.tolerance >= 0:
            raise errors.InputError(f"--tolerance={self.tolerance} must be 0 or more")


def main(config: CompareConfig) -> int:
    """Compares, reports on stdout and in `--out`; returns 0 if all agrees, else 1."""
    a, b = sources.read(config.a, config.window), sources.read(config.b, config.window)
    pairs = comparison.pair(a, b)
    compared = [comparison.compare(*pair, config.tolerance) for pair in pairs]
    text = comparison.report(compared, config.tolerance)
    paired = {id(source) for pair in pairs for source in pair}
    for side, name in ((a, "A"), (b, "B")):
        alone = [source.name for source in side.values() if id(source) not in paired]
        if alone:
            more = f" and {len(alone) - _MAX_NAMED} more" if len(alone) > _MAX_NAMED else ""
            text += f"Only in {name}: {', '.join(alone[:_MAX_NAMED])}{more}.\n"
    sys.stdout.write(text)
    if config.out:
        out = pathlib.Path(config.out)
        files.write_atomically(out / "comparison.txt", text.encode())
        comparison.write_csv(compared, out / "differences.csv")
        for index, one in enumerate(compared, 1):
            path = out / f"{comparison.file_stem(one, index)}.png"
            figures.comparison_figure(one, config.tolerance, path)
    return 0 if all(one.agrees for one in compared) else 1


def name_the_sides(argv: list[str]) -> list[str]:
    """Turns the first two arguments that are not flags into --a and --b."""
    sides = iter(("--a=", "--b="))
    return argv[:1] + [
        argument if argument.startswith("-") else next(sides, "") + argument
        for argument in argv[1:]
    ]


def command() -> None:
    """The command line, also installed as l2o-compare."""
    sys.argv = name_the_sides(sys.argv)
    cli.run(CompareConfig, DESCRIPTION, main)


if __name__ == "__main__":
    command()
