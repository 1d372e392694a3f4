"""What a report says of its trainings: a table, a CSV file and a figure."""

import csv
import io
import itertools
import math
import pathlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from l2o_tf.core import files, text
from l2o_tf.keras_evaluation import scores
from l2o_tf.keras_evaluation.store import Key
from l2o_tf.keras_evaluation.training import Run

Runs = Mapping[Key, Run]


class Cell(NamedTuple):
    """One optimizer on one task, over seeds.

    Attributes:
        task: the task.
        optimizer: the optimizer's label.
        curve: its smoothed training losses.
        train: the mean training loss of the last twentieth of the steps; infinite if diverged.
        validation: the mean validation loss; infinite where one is not finite.
        diverged: how many seeds diverged.
        cpu_ms: CPU time of a step.
        bytes_per_parameter: of the optimizer's state.
        steps: the steps to the loss that the calibrated AdamW has in the end; None if never.
        speed_up: over the calibrated AdamW.
        over_adam: the speed-up over the Adam that is best on this task.
    """

    task: str
    optimizer: str
    curve: scores.Curve
    train: float
    validation: float
    diverged: int
    cpu_ms: float
    bytes_per_parameter: float
    steps: int | None = None
    speed_up: float = math.nan
    over_adam: float = math.nan

    @property
    def seconds(self) -> float | None:
        """CPU seconds of those steps."""
        return None if self.steps is None else self.steps * self.cpu_ms / 1000


class Report(NamedTuple):
    """All that is said.

    Attributes:
        cells: by task, then by optimizer.
        kinds: "rule", "adam" or "adamw" of each optimizer.
        adamw: the setting of AdamW that is best over all tasks.
        adam: the best setting of Adam of each task.
    """

    cells: dict[str, dict[str, Cell]]
    kinds: Mapping[str, str]
    adamw: str
    adam: dict[str, str]

    def of_kind(self, kind: str) -> list[str]:
        """The optimizers of a kind."""
        return [label for label, found in self.kinds.items() if found == kind]


def assess(runs: Runs, kinds: Mapping[str, str]) -> Report:
    """Scores trainings.

    Args:
        runs: of each task with the same optimizers and seeds.
        kinds: "rule", "adam" or "adamw" of each optimizer; one of each at least.
    """
    raw: dict[str, dict[str, Cell]] = {}
    for task in dict.fromkeys(key.task for key in runs):
        num_steps = max(len(run.losses) for key, run in runs.items() if key.task == task)
        raw[task] = {label: _cell(task, label, runs, num_steps) for label in kinds}

    def finals(kind):
        labels = [label for label in kinds if kinds[label] == kind]
        return {label: {task: raw[task][label].train for task in raw} for label in labels}

    adamw = scores.calibrated(finals("adamw"))
    by_rate = finals("adam")
    adam = {task: scores.best({label: f[task] for label, f in by_rate.items()}) for task in raw}
    cells = {
        task: {
            label: _scored(cell, row[adamw].curve, row[adam[task]].curve)
            for label, cell in row.items()
        }
        for task, row in raw.items()
    }
    return Report(cells, kinds, adamw, adam)


def _cell(task: str, label: str, runs: Runs, num_steps: int) -> Cell:
    found = [run for key, run in runs.items() if key[:2] == (task, label)]
    # A run that diverged has no curve.
    losses = [[] if run.diverged_at else run.losses for run in found]
    curve = scores.curve(losses, num_steps)
    validation = [math.inf if r.validation_loss is None else r.validation_loss for r in found]
    return Cell(
        task=task,
        optimizer=label,
        curve=curve,
        train=curve.final,
        validation=float(np.mean(validation)),
        diverged=sum(scores.curve([own], num_steps).diverged for own in losses),
        cpu_ms=float(np.mean([run.cpu_ms for run in found])),
        bytes_per_parameter=found[0].bytes_per_parameter,
    )


def _scored(cell: Cell, adamw: scores.Curve, adam: scores.Curve) -> Cell:
    return cell._replace(
        steps=None if adamw.diverged else scores.steps_to(cell.curve, adamw.final),
        speed_up=scores.speed_up(cell.curve, adamw),
        over_adam=scores.speed_up(cell.curve, adam),
    )


def write(directory: pathlib.Path, runs: Runs, kinds: Mapping[str, str]) -> Report:
    """Writes report.txt, report.csv and report.png.

    Raises:
        InputError: if they cannot be written.
    """
    from l2o_tf.keras_evaluation import report_figure  # Matplotlib is slow to import.

    found = assess(runs, kinds)
    files.write_atomically(directory / "report.txt", (summary(found) + table(found)).encode())
    files.write_atomically(directory / "report.csv", _csv(found).encode())
    report_figure.draw(found, directory / "report.png")
    return found


def summary(report: Report) -> str:
    """A line per rule: its speed-up over all tasks, and how it stands beside Adam."""
    first = report.of_kind("adam")[0]
    rows = [
        [
            "rule",
            "speed-up over AdamW",
            "95 %",
            "over best Adam",
            "diverged",
            "as good as best Adam",
            f"worst / {first}",
            "bytes/parameter",
        ]
    ]
    for label in report.of_kind("rule"):
        cells = [row[label] for row in report.cells.values()]
        middle = scores.interquartile_mean([cell.speed_up for cell in cells])
        over_adam = scores.interquartile_mean([cell.over_adam for cell in cells])
        good = sum(_is_as_good(report, cell) for cell in cells)
        worst = _highest_ratio((cell, report.cells[cell.task][first]) for cell in cells)
        rows.append(
            [
                label,
                f"{middle.mean:.2f}",
                f"{middle.low:.2f} to {middle.high:.2f}",
                f"{over_adam.mean:.2f}",
                str(sum(cell.diverged for cell in cells)),
                f"{good} of {len(cells)}",
                "-" if worst is None else f"{worst:.2f}",
                f"{max(cell.bytes_per_parameter for cell in cells):.0f}",
            ]
        )
    text_rows = text.aligned(rows, left=1)
    explanation = (
        f"Interquartile mean of the speed-up in steps over {len(report.cells)} tasks, beside"
        f" {report.adamw}, the\nsetting of AdamW that is best over all of them, and beside the best"
        " Adam of each task. As good:\ntasks with a training and a validation loss at or below the"
        " lowest of any of Adam's rates. Worst:\nthe highest ratio of a loss, training or"
        f" validation, to the one of {first}, where that is not below 0.\n"
    )
    return "\n".join([*text_rows, "", explanation]) + "\n"


def table(report: Report) -> str:
    """A line per task and optimizer."""
    rows = [
        [
            "task",
            "optimizer",
            "train",
            "validation",
            "diverged",
            "steps",
            "CPU s",
            "speed-up",
            "over Adam",
            "CPU ms/step",
            "bytes/parameter",
        ]
    ]
    for task, cells in report.cells.items():
        for label, cell in cells.items():
            mark = {report.adamw: " (calibrated)", report.adam[task]: " (best)"}.get(label, "")
            rows.append(
                [
                    task,
                    label + mark,
                    _number(cell.train),
                    _number(cell.validation),
                    str(cell.diverged),
                    "-" if cell.steps is None else str(cell.steps),
                    "-" if cell.seconds is None else f"{cell.seconds:.1f}",
                    f"{cell.speed_up:.2f}",
                    f"{cell.over_adam:.2f}",
                    f"{cell.cpu_ms:.1f}",
                    f"{cell.bytes_per_parameter:.0f}",
                ]
            )
    legend = (
        "train: mean loss of the minibatches of the last twentieth of the steps, as in training."
        "\nvalidation: on examples held out, after the last step. steps, CPU s: until the training"
        "\nloss is that of the calibrated AdamW in the end. All are means over seeds.\n"
    )
    return "\n".join([*text.aligned(rows, left=2), "", legend])


def _csv(report: Report) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    fields = [field for field in Cell._fields if field != "curve"]
    writer.writerow([*fields, "seconds", "calibrated", "best"])
    for cell in _all_cells(report):
        values = [getattr(cell, field) for field in [*fields, "seconds"]]
        marks = [cell.optimizer == report.adamw, cell.optimizer == report.adam[cell.task]]
        writer.writerow(
            ["" if v is None else f"{v:.6g}" if isinstance(v, float) else v for v in values]
            + [int(mark) for mark in marks]
        )
    return out.getvalue()


def _all_cells(report: Report) -> Iterable[Cell]:
    return (cell for row in report.cells.values() for cell in row.values())


def _is_as_good(report: Report, cell: Cell) -> bool:
    adams = [report.cells[cell.task][label] for label in report.of_kind("adam")]
    return cell.train <= min(adam.train for adam in adams) and cell.validation <= min(
        adam.validation for adam in adams
    )


def _highest_ratio(pairs: Iterable[tuple[Cell, Cell]]) -> float | None:
    """The highest of one's losses over another's; None if none has a ratio."""
    losses = [
        pair
        for one, other in pairs
        for pair in ((one.train, other.train), (one.validation, other.validation))
    ]
    return max((r for r in itertools.starmap(_ratio, losses) if r is not None), default=None)


def _ratio(loss: float, other: float) -> float | None:
    """How many times as high a loss is; None beside one below 0, where more is not higher."""
    if loss == other:
        return 1.0  # Also if both are 0, or both diverged.
    if other < 0:
        return math.inf if loss == math.inf else None
    return loss / other if other else math.copysign(math.inf, loss)


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "diverged"
