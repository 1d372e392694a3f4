"""Compares two results: `python -m l2o_tf.compare A B`."""

import dataclasses
import pathlib

from l2o_tf import cli
from l2o_tf.core import errors, files, flags
from l2o_tf.evaluation import comparison, comparison_report, results, sources

DESCRIPTION = """\
Compares two results series by series: where they differ, by how much, and whether that is more
than chance over seeds.

usage: python -m l2o_tf.compare A B [flags]

A and B are each one of these, or LABEL= and one of these
  DIR[:OPTIMIZEE[:RULE]]     results written by evaluate, or a run directory that holds some
  figureN[:PANEL[:SERIES]]   the paper's published curves (figures 2, 3, 5, 6), such as
                             figure2:MLP-orig:L2O-DM, or a CSV file of such curves
  RUN[,RUN...]               training runs: their validation losses, and the meta-losses between
                             validations; several count as seeds, as do those in a directory
  RUN:validation[:STEPS]     the validations alone, or those on so many steps; so with meta-loss
  FILE[,FILE...]             losses: .npy, .npz, .txt, .csv of [num_steps] or [num_runs, num_steps],
                             or loss records of the legacy code; several count as seeds

example: python -m l2o_tf.compare mine=runs/mine paper=figure2 --out=diff
         python -m l2o_tf.compare runs/mine:mlp:dm L2L_eval_loss_record.pickle-mnist
         python -m l2o_tf.compare new=runs/dm_seed0,runs/dm_seed1 old=runs/old_dm

Exit code: 0 if every common series agrees, 1 if one differs, 3 if none differs but one is
undecided, 2 for bad input.
  AGREE      the 95 % interval (Welch's, over seeds) of the difference over all windows is within
             the tolerance, and the same share of runs diverges.
  DIFFER     the difference over all windows, or in one window (5 % over all windows together,
             Bonferroni), is beyond the tolerance and significant, or significantly more runs
             diverge on one side (Fisher's exact test, 5 %).
  UNDECIDED  neither; the number of seeds that would decide is named.
One run, or a published mean of ten, borrows the other side's spread; windows of a single run are
not judged. Where neither side has two runs, nothing but equal curves is decided."""


@dataclasses.dataclass(frozen=True)
class CompareConfig(flags.CommandFlags):
    """The flags of `python -m l2o_tf.compare`.

    Raises:
        InputError: if a side is missing or a number is out of range.
    """

    ARGUMENTS = ("a", "b")  # What arguments without a flag are.

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
        "A directory for comparison.txt, differences.csv and comparison.png and .pdf, a panel for "
        "each series. Default: none.",
        "Output",
    )

    def __post_init__(self):
        if not (self.a and self.b):
            raise errors.InputError("two results are needed: python -m l2o_tf.compare A B")
        flags.require(
            1 <= self.window <= results.MAX_STEPS,
            "window",
            self.window,
            f"from 1 to {results.MAX_STEPS}",
        )
        flags.require(
            0 <= self.tolerance < float("inf"), "tolerance", self.tolerance, "a number from 0"
        )


def main(config: CompareConfig) -> int:
    """Compares, reports on stdout and in `--out`; returns the exit code."""
    (label_a, spec_a), (label_b, spec_b) = map(sources.label_and_spec, (config.a, config.b))
    labels = label_a or "A", label_b or "B"
    if labels[0] == labels[1]:
        raise errors.InputError(f"both sides are labelled {labels[0]}: give them two labels")
    a, b = (sources.read(spec, config.window) for spec in (spec_a, spec_b))
    pairs = comparison.pair(a, b)
    compared = [comparison.compare(*pair, config.tolerance) for pair in pairs]
    summary = comparison_report.summary(compared, labels, config.tolerance)
    summary += comparison_report.alone((a, b), pairs, labels)
    details = comparison_report.details(compared, labels)
    if config.out:
        out = pathlib.Path(config.out)
        files.write_atomically(out / "comparison.txt", f"{summary}\n{details}".encode())
        comparison_report.write_csv(compared, out / "differences.csv")
        # Late, because Matplotlib is slow to import.
        from l2o_tf.evaluation import comparison_figure

        for ending in ("png", "pdf"):
            path = out / f"comparison.{ending}"
            comparison_figure.draw(compared, labels, config.tolerance, path)
    cli.show(f"{details}\n{summary}" if len(compared) == 1 else summary)
    if config.out:
        cli.show(f"wrote comparison.txt, .png, .pdf and differences.csv in {config.out}")
    verdicts = {one.verdict for one in compared}
    if comparison.Verdict.DIFFER in verdicts:
        return 1
    return 3 if comparison.Verdict.UNDECIDED in verdicts else 0


def command() -> None:
    """The command line, also installed as l2o-compare."""
    cli.run(CompareConfig, DESCRIPTION, main)


if __name__ == "__main__":
    command()
