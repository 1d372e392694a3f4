"""What an evaluation leaves beside its runs: tables, pictures, TensorBoard."""

import contextlib
import pathlib
import re
from collections.abc import Iterable

from tensorboard.plugins.scalar import summary_v2 as scalars

from l2o_tf.core import files
from l2o_tf.evaluation import figures, results, statistics, tables
from l2o_tf.run import event_file


def outcome(run: results.Run) -> str:
    """How a run ended, in a few words."""
    if run.diverged_at is not None:
        return f"diverged at step {run.diverged_at}"
    last = statistics.last_tenth(run.losses)
    return f"ln loss {statistics.mean_of_log(last, len(last))[0]:.3f} over the last tenth"


def write(directory: pathlib.Path, optimizees: Iterable[str]) -> str:
    """Writes the summaries of a results directory.

    Args:
        directory: a results directory.
        optimizees: the labels of those whose curves are drawn, if there are runs of them.

    Returns:
        The table, and where everything is.

    Raises:
        InputError: if a file cannot be read or written.
    """
    results.consolidate(directory)
    runs = results.load(directory)
    table = tables.table(runs)
    files.write_atomically(directory / "table.txt", (table + "\n").encode())
    _write_tensorboard(directory, runs)
    shown = [table]
    for optimizee in optimizees:
        own = [run for run in runs if run.optimizee == optimizee]
        if not own:  # A bundle that was stopped has runs of some.
            continue
        picture = directory / f"{optimizee}.png"
        figures.quick_look(own, picture)
        shown.append(f"curves: {picture}")
    shown.append(f"results: {directory / 'results.csv'}, {directory / 'losses.npz'}")
    return "\n".join(shown)


def _write_tensorboard(directory: pathlib.Path, runs: list[results.Run]) -> None:
    """A run per rule, a curve per optimizee: means of ln loss over 100 steps and over seeds."""
    names = _file_names(dict.fromkeys(run.rule for run in runs))
    for (rule, optimizee), group in statistics.group(runs).items():
        events = directory / "tensorboard" / names[rule] / optimizee
        for old in files.matching(events, "events.out.tfevents.*"):
            files.remove(old)
        means = statistics.over_seeds([statistics.mean_of_log(run.losses) for run in group]).mean
        with contextlib.closing(event_file.EventFile(events)) as file:
            for k, value in enumerate(means, 1):
                file.add(k * results.WINDOW, [scalars.scalar_pb("ln_loss", value)])


def _file_names(labels: Iterable[str]) -> dict[str, str]:
    """A different file name for each label, as like it as can be."""
    names: dict[str, str] = {}
    for label in labels:
        name = plain = re.sub(r"[^\w.-]", "_", label).lstrip(".") or "_"
        number = 1
        while name in names.values():
            number += 1
            name = f"{plain}_{number}"
        names[label] = name
    return names
