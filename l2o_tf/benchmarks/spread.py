"""How losses scatter over the seeds of trainings: `python -m l2o_tf.benchmarks.spread`."""

import dataclasses
import itertools
import math
import pathlib
from collections.abc import Sequence

import numpy as np

from l2o_tf import cli
from l2o_tf.core import errors, files, flags, text
from l2o_tf.evaluation import results, statistics

DESCRIPTION = """\
Prints how the final loss scatters over trainings that differ in their seed only, and how recipes
differ in the mean over the seeds that both have. The labels of the evaluated rules are RECIPE_SEED,
such as plain_0,plain_1,other_0,other_1.

usage: python -m l2o_tf.benchmarks.spread [flags]"""

HEADER = ["recipe", "optimizee", "trainings", "mean", "sd", "best", "worst"]
PAIRED_HEADER = ["recipe", "less", "optimizee", "trainings", "mean", "se", "lower in"]

Finals = dict[tuple[str, str], dict[str, float]]


@dataclasses.dataclass(frozen=True)
class SpreadConfig:
    """The flags of the command."""

    results: str = flags.flag(
        "data/results/trajectories", "A directory filled by evaluate.", "Input"
    )
    out: str | None = flags.flag(None, "A file for the table. Default: none.", "Output")


def finals(runs: Sequence[results.Run]) -> Finals:
    """The final losses of trainings, by recipe and optimizee, then by the training's seed.

    Returns:
        The mean of ln loss over the last tenth of the steps and over the evaluation's seeds that
        did not diverge; nan where all did.

    Raises:
        InputError: for a label that does not end with a seed.
    """
    found: Finals = {}
    for (label, optimizee), members in statistics.group(runs).items():
        recipe, _, seed = label.rpartition("_")
        if not recipe or not seed.isdecimal():
            raise errors.InputError(
                f"the rule {label} has no training seed in its label: evaluate rules as "
                "RECIPE_SEED=RUN, such as plain_0=runs/plain/seed_0"
            )
        scores = [statistics.score(run.losses, statistics.ZERO_LOSS) for run in members]
        mean = statistics.over_seeds(np.array(scores)[:, None]).mean[0]
        found.setdefault((recipe, optimizee), {})[seed] = float(mean)
    return found


def table(losses: Finals) -> str:
    """What `finals` returns as text, a line for each recipe and optimizee."""
    rows = [HEADER]
    for (recipe, optimizee), by_seed in losses.items():
        values = np.array(list(by_seed.values()))
        mean, sd, count = (value[0] for value in statistics.over_seeds(values[:, None]))
        extremes = np.fmin.reduce(values), np.fmax.reduce(values)
        numbers = [f"{value:.2f}" for value in (mean, sd, *extremes)]
        rows.append([recipe, optimizee, f"{count}/{len(values)}", *numbers])
    return "\n".join(text.aligned(rows, left=2)) + "\n"


def differences(losses: Finals) -> str:
    """A line for each two recipes on an optimizee: the first less the second, seed by seed.

    Trainings with the same seed start from the same weights and draw the same optimizees, so that
    the standard error of the differences is that of the comparison.
    """
    rows = [PAIRED_HEADER]
    for (other, optimizee), (recipe, same) in itertools.combinations(losses, 2):
        if optimizee != same:
            continue
        a, b = losses[recipe, optimizee], losses[other, optimizee]
        paired = np.array([a[seed] - b[seed] for seed in a if seed in b])
        paired = paired[np.isfinite(paired)]
        if paired.size < 2:
            continue
        error = paired.std(ddof=1) / math.sqrt(paired.size)
        numbers = [f"{value:.2f}" for value in (paired.mean(), error)]
        lower = f"{np.sum(paired < 0)}/{paired.size}"
        rows.append([recipe, other, optimizee, str(paired.size), *numbers, lower])
    return "\n".join(text.aligned(rows, left=3)) + "\n" if len(rows) > 1 else ""


def main(config: SpreadConfig) -> None:
    """Prints the tables."""
    losses = finals(results.load(config.results))
    shown = "\n".join(filter(None, [table(losses), differences(losses)]))
    if config.out:
        files.write_atomically(pathlib.Path(config.out), shown.encode())
    cli.show(shown)


if __name__ == "__main__":
    cli.run(SpreadConfig, DESCRIPTION, main)
