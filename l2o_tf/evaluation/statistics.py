"""Statistics of loss curves: windows of steps, mean and spread over seeds, Student's t.

Minibatch losses are heavy-tailed, so the logarithm of a window's mean loss and the mean of its
log losses differ by up to 2. The paper's figures are means of logs; tables here show both.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from l2o_tf import errors
from l2o_tf.evaluation import results

# What a loss of exactly 0 counts as, so that its logarithm exists: just below the smallest
# non-zero float32 cross-entropy of 128 examples, 2^-23 / 128 = 9e-10.
ZERO_LOSS = 1e-10
TABLE_STEPS = (100, 1_000, 10_000)


class Summary(NamedTuple):
    """Mean and spread over seeds, arrays [num_windows].

    Attributes:
        mean: the mean over the seeds with a finite value; nan where there is none.
        sd: their sample standard deviation (n - 1 in the denominator); nan below two seeds.
        count: how many seeds have a finite value.
    """

    mean: np.ndarray
    sd: np.ndarray
    count: np.ndarray


def window_ends(num_steps: int, window: int = results.WINDOW) -> np.ndarray:
    """The last step, counted from 1, of every complete window: int [num_windows]."""
    return np.arange(window, num_steps + 1, window)


def log_of_mean(losses: np.ndarray, window: int = results.WINDOW) -> np.ndarray:
    """ln(mean loss) of every window.

    Args:
        losses: [..., num_steps]; an incomplete last window is dropped.
        window: the number of steps per window.

    Returns:
        float64 [..., num_windows]. A window with a loss that is not finite is nan, as is one
        with a negative mean; a mean of 0 counts as `ZERO_LOSS`.
    """
    return _log(_windows(losses, window).mean(axis=-1))


def mean_of_log(losses: np.ndarray, window: int = results.WINDOW) -> np.ndarray:
    """mean(ln loss) of every window, what the paper's figures show.

    Args:
        losses: [..., num_steps]; an incomplete last window is dropped.
        window: the number of steps per window.

    Returns:
        float64 [..., num_windows]. A window with a loss that is not finite or is negative is
        nan; a loss of exactly 0 counts as `ZERO_LOSS`.
    """
    return _log(_windows(losses, window)).mean(axis=-1)


def over_seeds(values: Sequence[np.ndarray]) -> Summary:
    """Mean and standard deviation over seeds.

    Args:
        values: one array [num_windows_i] per seed; shorter ones count as missing at the end.

    Returns:
        Statistics [max num_windows] over the finite values of each window.
    """
    padded = np.full([len(values), max(len(value) for value in values)], np.nan)
    for row, value in zip(padded, values):
        row[: len(value)] = value
    finite = np.isfinite(padded)
    count = finite.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(finite, padded, 0.0).sum(axis=0) / count
        squares = np.where(finite, padded - mean, 0.0) ** 2
        sd = np.sqrt(squares.sum(axis=0) / np.where(count > 1, count - 1, np.nan))
    return Summary(mean, sd, count)


def group(runs: Sequence[results.Run]) -> dict[tuple[str, str], list[results.Run]]:
    """The runs of each (rule, optimizee), in order of appearance.

    Raises:
        InputError: if runs of one group are on different data, which no mean should mix.
    """
    groups: dict[tuple[str, str], list[results.Run]] = {}
    for run in runs:
        groups.setdefault((run.rule, run.optimizee), []).append(run)
    for (rule, optimizee), members in groups.items():
        data = sorted({f"{run.dataset}/{run.split}" for run in members})
        if len(data) > 1:
            raise errors.InputError(
                f"runs of {rule} on {optimizee} mix the data {' and '.join(data)}: "
                "keep them in separate results directories"
            )
    return groups


def table(runs: Sequence[results.Run]) -> str:
    """A text table: the loss at 100, 1,000 and 10,000 steps, over seeds.

    Each cell is mean and standard deviation over the seeds of the 100-step window that ends at
    the step; under it, rows name the runs that diverged. Those count up to their divergence.
    """
    header = ["optimizee", "rule", "seeds", "diverged"]
    for step in TABLE_STEPS:
        header += [f"ln(mean) @{step}", f"mean(ln) @{step}"]
    rows, diverged = [header], []
    for (rule, optimizee), members in sorted(
        group(runs).items(), key=lambda item: (item[0][1], item[0][0])
    ):
        bad = [run for run in members if run.diverged_at]
        cells = [optimizee, rule, str(len(members)), str(len(bad))]
        for step in TABLE_STEPS:
            cells += [_cell(members, step, log_of_mean), _cell(members, step, mean_of_log)]
        rows.append(cells)
        diverged += [
            f"diverged: {rule} on {optimizee}, seed {run.seed}, at step {run.diverged_at}"
            for run in bad
        ]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        "  ".join(
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], *diverged]) + "\n"


def t_quantile(probability: np.ndarray | float, df: np.ndarray | float) -> np.ndarray:
    """The quantile of Student's t distribution, for confidence intervals without SciPy.

    With t = sqrt(df) tan(u) the distribution function is 1/2 + c times the integral of
    cos(u)^(df - 1) from 0 to u: a smooth integrand on a bounded interval, for which a
    Gauss-Legendre rule is exact to rounding, inverted by bisection over u.

    Args:
        probability: in [0.5, 1), any shape that broadcasts with `df`.
        df: degrees of freedom, at least 1, not necessarily integers.

    Returns:
        float64 array of the broadcast shape, nan where `df` is nan.
    """
    probability, df = np.broadcast_arrays(np.asarray(probability, float), np.asarray(df, float))
    nodes, weights = np.polynomial.legendre.leggauss(64)
    lgamma = np.vectorize(math.lgamma, otypes=[float])
    constant = np.exp(lgamma((df + 1) / 2) - lgamma(df / 2)) / math.sqrt(math.pi)
    low, high = np.zeros(df.shape), np.full(df.shape, math.pi / 2)
    for _ in range(60):  # Halvings that exhaust float64.
        middle = (low + high) / 2
        points = middle[..., None] * (nodes + 1) / 2
        integral = (np.cos(points) ** (df[..., None] - 1) * weights).sum(axis=-1) * middle / 2
        below = 0.5 + constant * integral < probability
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.where(np.isnan(df), np.nan, np.sqrt(df) * np.tan(middle))


def _windows(losses: np.ndarray, window: int) -> np.ndarray:
    """[..., num_steps] -> float64 [..., num_windows, window]; all nan where one is not finite."""
    losses = np.asarray(losses, np.float64)
    num_windows = losses.shape[-1] // window
    windows = losses[..., : num_windows * window].reshape(*losses.shape[:-1], num_windows, window)
    return np.where(np.isfinite(windows).all(axis=-1, keepdims=True), windows, np.nan)


def _log(values: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.log(np.where(values == 0.0, ZERO_LOSS, values))


def _cell(members: Sequence[results.Run], step: int, statistic) -> str:
    long_enough = [run.losses[step - results.WINDOW : step] for run in members]
    values = [statistic(losses) for losses in long_enough if losses.size == results.WINDOW]
    if not values:
        return "-"
    mean, sd, count = (part[0] for part in over_seeds(values))
    if not count:
        return "diverged"
    return f"{mean:.2f}" if count == 1 else f"{mean:.2f} ± {sd:.2f}"
