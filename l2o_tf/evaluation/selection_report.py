"""What a selection leaves for people: the table of all snapshots, the winner's card, the figure."""

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from l2o_tf import artifacts
from l2o_tf.core import files, text
from l2o_tf.evaluation import drawing, results, selection
from l2o_tf.evaluation.config import SelectConfig
from l2o_tf.evaluation.tasks import Task

_BEST = 10  # Rows of the table that is printed.


class Row(NamedTuple):
    """One snapshot.

    Attributes:
        snapshot: which.
        num_steps: the last rung that it ran.
        score: its score there.
        rungs: its score on each of its rungs.
        by_optimizee: the part of the score that is of each optimizee, a mean over seeds.
        ln_losses: mean ln loss over seeds at each decade of steps, by (optimizee, step).
    """

    snapshot: selection.Snapshot
    num_steps: int
    score: float
    rungs: dict[int, float]
    by_optimizee: dict[str, float]
    ln_losses: dict[tuple[str, int], float]


class Table:
    """All snapshots from the best to the worst: later rungs first, then lower scores."""

    def __init__(
        self,
        rungs: Sequence[selection.Rung],
        tasks: Mapping[str, Task],
        num_seeds: int,
        store: selection.Store,
    ):
        """Reads the measurements of the rungs.

        Args:
            rungs: the selection.
            tasks: what is optimized, by optimizee; their number of steps does not count.
            num_seeds: seeds per snapshot and optimizee.
            store: the measurements.
        """
        self._rungs, self._tasks = rungs, tasks
        scores: dict[selection.Snapshot, dict[int, float]] = {}
        for rung in rungs:
            for snapshot, score in rung.scores.items():
                scores.setdefault(snapshot, {})[rung.num_steps] = score
        rows = [self._row(s, rungs, num_seeds, store) for s, rungs in scores.items()]
        self.rows = sorted(rows, key=lambda row: (-row.num_steps, row.score))

    def _row(self, snapshot, rungs: dict[int, float], num_seeds, store) -> Row:
        num_steps, by_optimizee, ln_losses = max(rungs), {}, {}
        for name, task in self._tasks.items():
            task = task._replace(num_steps=num_steps)
            ones = [selection.Measurement(snapshot, task, seed) for seed in range(num_seeds)]
            found = [store.get(one) for one in ones]
            by_optimizee[name] = float(np.mean([one.score for one in found]))
            for step in results.DECADES:
                values = [one.ln_losses.get(step, math.nan) for one in found]
                ln_losses[name, step] = float(np.mean(values))
        return Row(snapshot, num_steps, rungs[num_steps], rungs, by_optimizee, ln_losses)

    @property
    def best_of_runs(self) -> list[Row]:
        """The first row of each run."""
        first: dict[str, Row] = {}
        for row in self.rows:
            first.setdefault(row.snapshot.run, row)
        return list(first.values())

    def csv(self) -> str:
        """A line per snapshot; empty cells for what was not measured, "inf" for divergence."""
        steps = [rung.num_steps for rung in self._rungs]
        decades = [(n, s) for n in self._tasks for s in results.DECADES if s <= max(steps)]
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(
            ["rank", "run", "epoch", "num_steps", *(f"score@{step}" for step in steps)]
            + [f"score {name}" for name in self._tasks]
            + [f"ln loss {name}@{step}" for name, step in decades]
            + ["file"]
        )
        for rank, row in enumerate(self.rows, 1):
            values = [row.rungs.get(step, math.nan) for step in steps]
            values += row.by_optimizee.values()
            values += [row.ln_losses[key] for key in decades]
            cells = ["" if math.isnan(value) else f"{value:.4f}" for value in values]
            snapshot = row.snapshot
            writer.writerow(
                [rank, snapshot.run, snapshot.epoch, row.num_steps, *cells, snapshot.path]
            )
        return buffer.getvalue()

    def text(self) -> str:
        """The best snapshots and the best one of each run."""
        header = ["", "run", "epoch", "steps", "ln loss", *self._tasks]
        shown = dict(enumerate(self.rows[:_BEST], 1))
        shown |= {self.rows.index(row) + 1: row for row in self.best_of_runs}
        lines = text.aligned([header, *(_cells(*item) for item in shown.items())], left=2)
        more = len(self.rows) - len(shown)
        note = f"({more} more, not the best of their runs, are in table.csv)\n" if more > 0 else ""
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]]) + f"\n{note}"

    def card(self, config: SelectConfig) -> dict[str, Any]:
        """The card of the best snapshot: its rule, its training, and what it was chosen from."""
        winner = self.rows[0]
        original = files.read_json(winner.snapshot.directory / artifacts.RULE_CARD)
        names = ("format", "rule", "options", "plugin", "training")
        kept = {name: original[name] for name in names if name in original}
        return {
            **kept,
            "run": winner.snapshot.run,
            "epoch": winner.snapshot.epoch,
            "chosen_because": "lowest mean ln loss over the last tenth of the steps, on held-out "
            "images, of all snapshots that reached the last rung of successive halving",
            "selection": {
                "num_runs": len({row.snapshot.run for row in self.rows}),
                "num_snapshots": len(self.rows),
                "num_seeds": config.num_seeds,
                "optimizees": {
                    name: {"dataset": task.dataset, "split": task.split}
                    | ({"options": json.loads(task.options)} if task.options else {})
                    for name, task in self._tasks.items()
                },
                "rungs": [
                    {
                        "num_steps": rung.num_steps,
                        "snapshots": len(rung.scores),
                        "diverged": sum(math.isinf(score) for score in rung.scores.values()),
                    }
                    for rung in self._rungs
                ],
                "score": winner.score,
                "scores": winner.by_optimizee,
                "best_of_runs": [
                    {
                        "run": row.snapshot.run,
                        "epoch": row.snapshot.epoch,
                        "num_steps": row.num_steps,
                        "score": row.score if math.isfinite(row.score) else None,
                    }
                    for row in self.best_of_runs
                ],
                "table": "table.csv",
            },
        }


def draw(rungs: Sequence[selection.Rung], path: str | os.PathLike, title: str) -> None:
    """Draws scores over epochs, a panel per rung and a line per run, as the paper's figure 4.

    Crosses at the upper edge are snapshots that diverged. Beyond the first rung a line skips the
    snapshots that did not come so far.

    Raises:
        InputError: if the file cannot be written.
    """
    names = sorted({snapshot.run for rung in rungs for snapshot in rung.scores})
    styles = drawing.styles(names)
    size = max(5.6, 4.2 * len(rungs)), 4.4 + 0.1 * len(names)
    figure = Figure(figsize=size, layout="constrained")
    for axis, rung in zip(np.atleast_1d(figure.subplots(1, len(rungs))), rungs):
        for run, points in _lines(rung).items():
            color, marker, line = styles[run]
            x, y = np.array(points).T
            finite = np.isfinite(y)
            axis.plot(x[finite], y[finite], color=color, marker=marker, ms=3.5, lw=1.2, ls=line)
            if not finite.all():
                edge, top = np.full(np.sum(~finite), 0.97), axis.get_xaxis_transform()
                axis.plot(x[~finite], edge, "X", color=color, ms=7, transform=top)
        axis.set_title(f"after {rung.num_steps:,} steps", fontsize=10)
        drawing.label(axis, "training epochs", "training loss (ln), last tenth")
    figure.suptitle(title, fontsize=11)
    handles = [drawing.handle(style, name) for name, style in styles.items()]
    drawing.legend_below(figure, handles, "Mean over optimizees and seeds; crosses: diverged.")
    drawing.save(figure, path)


def _lines(rung: selection.Rung) -> dict[str, list[tuple[int, float]]]:
    lines: dict[str, list[tuple[int, float]]] = {}
    for snapshot, score in rung.scores.items():
        lines.setdefault(snapshot.run, []).append((snapshot.epoch, score))
    return {run: sorted(points) for run, points in lines.items()}


def _cells(rank: int, row: Row) -> list[str]:
    values = [row.score, *row.by_optimizee.values()]
    numbers = ["diverged" if math.isinf(value) else f"{value:.3f}" for value in values]
    return [str(rank), row.snapshot.run, str(row.snapshot.epoch), str(row.num_steps), *numbers]
