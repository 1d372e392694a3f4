"""Tables of losses over seeds, as text and as JSON values."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from l2o_tf.core import text
from l2o_tf.evaluation import results, statistics


def table(runs: Sequence[results.Run]) -> str:
    """A text table: the loss at 100, 1,000 and 10,000 steps and at the end, over seeds.

    Each cell is mean ± standard deviation, over seeds, of the 100-step window that ends at the
    step, or of all steps where no run has as many as 100. Lines under the table name the runs
    that diverged; their windows before that count.

    Raises:
        InputError: if runs of one rule and optimizee are on different data.
    """
    longest = max(run.losses.size for run in runs)
    window = min(results.WINDOW, longest)
    longest -= longest % window
    steps = sorted({step for step in results.DECADES if step <= longest} | {longest})
    header = ["optimizee", "rule", "seeds", "diverged"]
    for step in steps:
        header += [f"ln(mean) @{step}", f"mean(ln) @{step}"]
    rows, diverged = [header], []
    for (rule, optimizee), members in sorted(
        statistics.group(runs).items(), key=lambda item: (item[0][1], item[0][0])
    ):
        bad = [run for run in members if run.diverged_at]
        rates = learning_rates(members)
        name = f"{rule} (rate {rates})" if rates else rule
        cells = [optimizee, name, str(len(members)), str(len(bad))]
        for step in steps:
            cells += [
                _cell(members, step, window, f)
                for f in (statistics.log_of_mean, statistics.mean_of_log)
            ]
        rows.append(cells)
        diverged += [
            f"diverged: {rule} on {optimizee}, seed {run.seed}, at step {run.diverged_at}"
            for run in bad
        ]
    lines = text.aligned(rows, left=2)
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], *diverged]) + "\n"


def learning_rates(runs: Sequence[results.Run]) -> str:
    """The tuned learning rates of runs of one rule, such as "0.01 on mlp, 0.1 on lenet"."""
    rates: dict[str, list[str]] = {}
    for run in runs:
        if run.learning_rate is not None:
            found = rates.setdefault(f"{run.learning_rate:g}", [])
            if run.optimizee not in found:
                found.append(run.optimizee)
    if len(rates) == 1:
        return next(iter(rates))
    return ", ".join(f"{rate} on {' and '.join(where)}" for rate, where in rates.items())


def summary_at_decades(runs: Sequence[results.Run]) -> dict[str, Any]:
    """The losses of one rule on one optimizee at 100, 1,000 and 10,000 steps, as JSON values.

    Each is the mean and standard deviation over seeds of the mean of ln loss over the 100-step
    window that ends there; null without enough seeds.
    """
    summary = statistics.over_seeds([statistics.mean_of_log(run.losses) for run in runs])
    rounded = [
        [None if np.isnan(value) else round(float(value), 3) for value in values]
        for values in (summary.mean, summary.sd)
    ]
    indices = {step: step // results.WINDOW - 1 for step in results.DECADES}
    return {
        "dataset": runs[0].dataset,
        "split": runs[0].split,
        "seeds": len(runs),
        "mean_ln_loss": {
            str(step): {"mean": rounded[0][index], "sd": rounded[1][index]}
            for step, index in indices.items()
            if index < len(summary.mean)
        },
    }


def _cell(members: Sequence[results.Run], step: int, window: int, statistic) -> str:
    parts = [run.losses[step - window : step] for run in members]
    values = [statistic(losses, window) for losses in parts if losses.size == window]
    if not values:
        return "-"
    mean, sd, count = (part[0] for part in statistics.over_seeds(values))
    if not count:
        return "diverged"
    return f"{mean:.2f}" if count == 1 else f"{mean:.2f} ± {sd:.2f}"
