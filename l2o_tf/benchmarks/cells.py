"""Our rules, the authors' and the published curves, cell by cell.

`python -m l2o_tf.benchmarks.cells` prints the table of data/results/README.md.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from l2o_tf import cli
from l2o_tf.core import files, flags
from l2o_tf.evaluation import paper_figures, published, results, statistics

DESCRIPTION = """\
Prints the losses at the end of evaluations beside the paper's: a Markdown table of rules and
optimizees, means and standard deviations over seeds of the mean ln loss of the last 100 steps, or
with --statistic=log_of_mean of ln of their mean loss, which the worst minibatches decide.

In parentheses: the seeds, where they are not ten.

usage: python -m l2o_tf.benchmarks.cells [flags]"""

# The learned rules, and the figure that has the published curves of each.
_FIGURES = {
    "rnnprop": 2,
    "rnnprop_cl_il": 3,
    "dm": 2,
    "dm_aug": 5,
    "dm_il": 5,
    "dm_cl": 5,
    "dm_cl_il": 2,
    "scale": 2,
    "scale_cl_il": 3,
    "scale_meta": 2,
}
_ANALYTICAL = {"tuned:adam": "Adam", "tuned:rmsprop": "RMSProp", "tuned:sgd": "SGD"}
_STATISTICS = {"mean_of_log": statistics.mean_of_log, "log_of_mean": statistics.log_of_mean}


@dataclasses.dataclass(frozen=True)
class CellsConfig:
    """The flags of the command.

    Raises:
        InputError: for a statistic that is unknown.
    """

    ours: str = flags.flag("data/results/trained", "An evaluation of our rules.", "Input")
    authors: str = flags.flag(
        "data/results/legacy_weights", "An evaluation of the authors' rules.", "Input"
    )
    statistic: str = flags.flag(
        "mean_of_log", f"Of the last 100 steps: {' or '.join(_STATISTICS)}.", "What to show"
    )
    out: str | None = flags.flag(None, "A file for the table. Default: none.", "Output")

    def __post_init__(self):
        known = " or ".join(_STATISTICS)
        flags.require(self.statistic in _STATISTICS, "statistic", self.statistic, known)


class Measured(NamedTuple):
    """The end of an evaluation.

    Attributes:
        mean: over the seeds, of the statistic over the last 100 steps.
        deviation: its standard deviation; nan for one seed.
        num_seeds: the seeds that did not diverge.
    """

    mean: float
    deviation: float
    num_seeds: int

    def __str__(self) -> str:
        spread = "" if np.isnan(self.deviation) else f" ± {self.deviation:.1f}"
        seeds = "" if self.num_seeds == published.NUM_RUNS else f" ({self.num_seeds})"
        return _tenths(self.mean) + spread + seeds


class System(NamedTuple):
    """A rule of the paper: its name there, and its published losses by optimizee.

    A cell whose curve is in doubt has no loss.
    """

    name: str
    published: Mapping[str, float]


def ends(
    runs: Sequence[results.Run],
    statistic: Callable[[np.ndarray], np.ndarray] = statistics.mean_of_log,
) -> dict[tuple[str, str], Measured]:
    """What evaluations end with, by rule and optimizee."""
    found = {}
    for key, members in statistics.group(runs).items():
        last = [statistic(run.losses)[-1:] for run in members]
        mean, deviation, count = (value[0] for value in statistics.over_seeds(np.array(last)))
        found[key] = Measured(float(mean), float(deviation), int(count))
    return found


def systems() -> dict[str, System]:
    """The ten learned rules of figures 2, 3 and 5 by label."""
    found = {}
    for label, number in _FIGURES.items():
        curves, losses, names = published.figure(number), {}, set()
        for panel in paper_figures.FIGURES[number].panels:
            for series in panel.series:
                curve = curves.get((panel.title, series.label))
                if series.rule == label:
                    names.add(series.label)
                    if curve is not None and not curve.doubt:
                        losses[panel.optimizee] = _last(curve)
        found[label] = System(names.pop(), losses)
    return found


def _last(curve: published.Curve) -> float:
    """The last point that could be read."""
    return float(curve.ln_loss[np.isfinite(curve.ln_loss)][-1])


def table(
    ours: Mapping[tuple[str, str], Measured], authors: Mapping[tuple[str, str], Measured]
) -> str:
    """The table as Markdown, and how many cells are at or below the published and the authors'."""
    panels = {panel.optimizee: panel.title for panel in paper_figures.FIGURES[2].panels}
    lines = [f"| rule | | {' | '.join(panels.values())} |", "|---|---|" + "---|" * len(panels)]
    counts = {"published": [0, 0, 0], "authors": [0, 0, 0]}
    for label, system in systems().items():
        rows = {
            "ours": {name: ours.get((label, name)) for name in panels},
            "authors' weights": {name: authors.get((label, name)) for name in panels},
        }
        for what, cells in rows.items():
            if any(cells.values()):
                lines.append(_row(system.name, what, cells.values()))
        shown = {name: _tenths(loss) for name, loss in system.published.items()}
        lines.append(_row(system.name, "published", [shown.get(name) for name in panels]))
        for name in panels:
            mine, theirs = rows["ours"][name], rows["authors' weights"][name]
            _count(counts["published"], mine, system.published.get(name))
            _count(counts["authors"], mine, theirs.mean if theirs else None)
    for label, name in _ANALYTICAL.items():
        tuned = [ours.get((label, optimizee)) for optimizee in panels]
        if any(tuned):
            lines.append(_row(name, "tuned", tuned))
    text = "\n".join(lines) + "\n\n"
    for what, (below, measured, total) in counts.items():
        curves = "published curve" if what == "published" else "authors' weights"
        text += f"At or below the {curves}: {below} of {measured} measured cells, of {total}.\n"
    return text


def _row(name: str, what: str, cells: Iterable[Measured | str | None]) -> str:
    """A line of the table; what is None was not measured."""
    shown = ("" if cell is None else str(cell) for cell in cells)
    return f"| {name} | {what} | {' | '.join(shown)} |"


def _tenths(value: float) -> str:
    """A number with one digit after the point and no minus before 0."""
    return f"{round(value, 1) + 0.0:.1f}"


def _count(counts: list[int], mine: Measured | None, bound: float | None) -> None:
    """Counts a cell: at or below the bound as both are shown, measured, all."""
    if bound is None:
        return
    counts[2] += 1
    if mine is not None:
        counts[1] += 1
        counts[0] += round(mine.mean, 1) <= round(bound, 1)


def main(config: CellsConfig) -> None:
    """Prints the table."""
    statistic = _STATISTICS[config.statistic]
    ours, authors = (ends(results.load(d), statistic) for d in (config.ours, config.authors))
    shown = table(ours, authors)
    if config.out:
        files.write_atomically(pathlib.Path(config.out), shown.encode())
    cli.show(shown)


if __name__ == "__main__":
    cli.run(CellsConfig, DESCRIPTION, main)
