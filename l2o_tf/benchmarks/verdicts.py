"""How often `compare` is right: `python -m l2o_tf.benchmarks.verdicts`.

The same code compared with itself should rarely be said to differ, and an effect of twice the
tolerance should be found. Both are counted on evaluations of ten seeds.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterator

import numpy as np

from l2o_tf import cli
from l2o_tf.core import files, flags, text
from l2o_tf.evaluation import comparison, results, sources, statistics
from l2o_tf.evaluation.comparison import Verdict

DESCRIPTION = """\
Counts the verdicts of compare on results whose truth is known: halves and single seeds of one
evaluation, which agree, and evaluations that are shifted by twice the tolerance, which differ.

usage: python -m l2o_tf.benchmarks.verdicts [flags]"""

Pairs = Callable[[np.ndarray], Iterator[tuple[np.ndarray, np.ndarray]]]


@dataclasses.dataclass(frozen=True)
class VerdictsConfig:
    """The flags of the command."""

    results: str = flags.flag(
        "data/results/legacy_weights", "An evaluation over ten seeds or so.", "Input"
    )
    tolerance: float = flags.flag(comparison.DEFAULT_TOLERANCE, "As that of compare.", "Input")
    num_samples: int = flags.flag(100, "Shifted evaluations per series.", "Input")
    seed: int = flags.flag(0, "Of the samples.", "Input")
    out: str | None = flags.flag(None, "A file for the table. Default: none.", "Output")


def halves(rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every split of the runs into two halves."""
    indices = range(len(rows))
    for chosen in itertools.combinations(indices, len(rows) // 2):
        if 0 in chosen or len(rows) % 2:
            yield rows[list(chosen)], rows[[i for i in indices if i not in chosen]]


def one_against_the_rest(rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every run against all others."""
    for index in range(len(rows)):
        yield rows[[index]], np.delete(rows, index, axis=0)


def shifted(
    rows: np.ndarray, shift: float, num_samples: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """As many runs on each side, drawn with replacement, one side shifted up or down.

    Deviations from the mean are enlarged so that their variance is that of the population.
    """
    number, mean = len(rows), rows.mean(axis=0)
    population = mean + (rows - mean) * np.sqrt(number / (number - 1))
    for sample in range(num_samples):
        a, b = (population[rng.integers(number, size=number)] for _ in range(2))
        yield a, b + (shift if sample % 2 else -shift)


def count(series: list[np.ndarray], pairs: Pairs, tolerance: float) -> dict[Verdict, int]:
    """The verdicts on all pairs that are made of each series [num_runs, num_windows]."""
    counts = dict.fromkeys(Verdict, 0)
    for rows in series:
        for a, b in pairs(rows):
            compared = comparison.compare(_source(a), _source(b), tolerance)
            counts[compared.verdict] += 1
    return counts


def _source(rows: np.ndarray) -> sources.Source:
    steps = results.WINDOW * np.arange(1, rows.shape[1] + 1)
    return sources.Source("x", steps, rows, 1, np.full(len(rows), np.inf), ())


def main(config: VerdictsConfig) -> None:
    """Counts and prints the table."""
    groups = statistics.group(results.load(config.results)).values()
    series = [np.stack([statistics.mean_of_log(run.losses) for run in runs]) for runs in groups]
    rng, effect = np.random.default_rng(config.seed), 2 * config.tolerance
    runs = len(series[0])

    def sampled(shift):
        return lambda rows: shifted(rows, shift, config.num_samples, rng)

    cases = {
        f"same code, {runs // 2} seeds against {runs - runs // 2}": halves,
        f"same code, 1 seed against {runs - 1}": one_against_the_rest,
        f"same code, {runs} seeds against {runs}": sampled(0.0),
        f"shifted by {effect:g}, {runs} seeds against {runs}": sampled(effect),
        f"shifted by {2 * effect:g}, {runs} seeds against {runs}": sampled(2 * effect),
    }
    rows = [["case", "comparisons", *(verdict.value for verdict in Verdict)]]
    for name, pairs in cases.items():
        counts = count(series, pairs, config.tolerance)
        total = sum(counts.values())
        shares = [f"{100 * counts[verdict] / total:.1f} %" for verdict in Verdict]
        rows.append([name, str(total), *shares])
    lines = [f"{len(series)} series of {config.results}, tolerance {config.tolerance:g}"]
    table = "\n".join([*lines, *text.aligned(rows, left=1)]) + "\n"
    if config.out:
        files.write_atomically(pathlib.Path(config.out), table.encode())
    cli.show(table)


if __name__ == "__main__":
    cli.run(VerdictsConfig, DESCRIPTION, main)
