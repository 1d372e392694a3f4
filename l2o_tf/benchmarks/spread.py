"""How losses scatter over the seeds of trainings: `python -m l2o_tf.benchmarks.spread`."""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence

import numpy as np

from l2o_tf import cli
from l2o_tf.core import errors, files, flags, text
from l2o_tf.evaluation import results, statistics

DESCRIPTION = """\
Prints how the final loss scatters over trainings that differ in their seed only. The labels of the
evaluated rules are RECIPE_SEED, such as plain_0,plain_1,other_0,other_1.

usage: python -m l2o_tf.benchmarks.spread [flags]"""

HEADER = ["recipe", "optimizee", "trainings", "mean", "sd", "best", "worst"]


@dataclasses.dataclass(frozen=True)
class SpreadConfig:
    """The flags of the command."""

    results: str = flags.flag(
        "data/results/trajectories", "A directory filled by evaluate.", "Input"
    )
    out: str | None = flags.flag(None, "A file for the table. Default: none.", "Output")


def finals(runs: Sequence[results.Run]) -> dict[tuple[str, str], np.ndarray]:
    """The final loss of each training by recipe and optimizee.

    Returns:
        [num_trainings] each: the mean of ln loss over the last tenth of the steps and over the
        evaluation's seeds that did not diverge; nan where all did.

    Raises:
        InputError: for a label that does not end with a seed.
    """
    found: dict[tuple[str, str], list[float]] = {}
    for (label, optimizee), members in statistics.group(runs).items():
        recipe, _, seed = label.rpartition("_")
        if not recipe or not seed.isdecimal():
            raise errors.InputError(
                f"the rule {label} has no training seed in its label: evaluate rules as "
                "RECIPE_SEED=RUN, such as plain_0=runs/plain/seed_0"
            )
        scores = [statistics.score(run.losses, statistics.ZERO_LOSS) for run in members]
        mean = statistics.over_seeds(np.array(scores)[:, None]).mean[0]
        found.setdefault((recipe, optimizee), []).append(mean)
    return {key: np.array(values) for key, values in found.items()}


def table(losses: dict[tuple[str, str], np.ndarray]) -> str:
    """What `finals` returns as text, a line for each recipe and optimizee."""
    rows = [HEADER]
    for (recipe, optimizee), values in losses.items():
        mean, sd, count = (value[0] for value in statistics.over_seeds(values[:, None]))
        extremes = np.fmin.reduce(values), np.fmax.reduce(values)
        numbers = [f"{value:.2f}" for value in (mean, sd, *extremes)]
        rows.append([recipe, optimizee, f"{count}/{len(values)}", *numbers])
    return "\n".join(text.aligned(rows, left=2)) + "\n"


def main(config: SpreadConfig) -> None:
    """Prints the table."""
    shown = table(finals(results.load(config.results)))
    sys.stdout.write(shown)
    if config.out:
        files.write_atomically(pathlib.Path(config.out), shown.encode())


if __name__ == "__main__":
    cli.run(SpreadConfig, DESCRIPTION, main)
