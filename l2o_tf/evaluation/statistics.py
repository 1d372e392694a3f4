"""Statistics of loss curves: windows of steps, mean and spread over seeds, Student's t.

Minibatch losses are heavy-tailed, so the logarithm of a window's mean loss and the mean of its
log losses differ by up to 2. The paper's figures are means of logs; tables here show both.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from l2o_tf.core import errors
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


def last_tenth(losses: np.ndarray) -> np.ndarray:
    """The last tenth of the steps of losses [num_steps], at least one."""
    return losses[-max(1, len(losses) // 10) :]


def pad(values: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays [num_windows_i] as rows [num_rows, max num_windows], nan where a row is shorter."""
    padded = np.full([len(values), max(map(len, values))], np.nan)
    for row, value in zip(padded, values):
        row[: len(value)] = value
    return padded


def over_seeds(values: Sequence[np.ndarray]) -> Summary:
    """Mean and standard deviation over seeds.

    Args:
        values: one array [num_windows_i] per seed; shorter ones count as missing at the end.

    Returns:
        Statistics [max num_windows] over the finite values of each window.
    """
    padded = pad(values)
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
    steps = sorted({step for step in TABLE_STEPS if step <= longest} | {longest})
    header = ["optimizee", "rule", "seeds", "diverged"]
    for step in steps:
        header += [f"ln(mean) @{step}", f"mean(ln) @{step}"]
    rows, diverged = [header], []
    for (rule, optimizee), members in sorted(
        group(runs).items(), key=lambda item: (item[0][1], item[0][0])
    ):
        bad = [run for run in members if run.diverged_at]
        cells = [optimizee, rule, str(len(members)), str(len(bad))]
        for step in steps:
            cells += [_cell(members, step, window, f) for f in (log_of_mean, mean_of_log)]
        rows.append(cells)
        diverged += [
            f"diverged: {rule} on {optimizee}, seed {run.seed}, at step {run.diverged_at}"
            for run in bad
        ]
    lines = aligned(rows, left=2)
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], *diverged]) + "\n"


def summary_at_decades(runs: Sequence[results.Run]) -> dict[str, Any]:
    """The losses of one rule on one optimizee at 100, 1,000 and 10,000 steps, as JSON values.

    Each is the mean and standard deviation over seeds of the mean of ln loss over the 100-step
    window that ends there; null without enough seeds.
    """
    summary = over_seeds([mean_of_log(run.losses) for run in runs])
    rounded = [
        [None if np.isnan(value) else round(float(value), 3) for value in values]
        for values in (summary.mean, summary.sd)
    ]
    indices = {step: step // results.WINDOW - 1 for step in TABLE_STEPS}
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


def aligned(rows: Sequence[Sequence[str]], left: int = 0) -> list[str]:
    """Rows of cells as lines with aligned columns; the first `left` columns are left-justified."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]


def t_quantile(probability: np.ndarray | float, df: np.ndarray | float) -> np.ndarray:
    """The quantile of Student's t distribution, for confidence intervals without SciPy.

    Bisection over u = arctan(t / sqrt(df)) of the two-sided tail, which is the regularised
    incomplete beta function I_x(df / 2, 1 / 2) at x = cos(u)^2 (Abramowitz and Stegun 26.7.1).
    The relative error is below 1e-9 up to df = 1e5.

    Args:
        probability: in [0.5, 1), any shape that broadcasts with `df`.
        df: degrees of freedom, at least 1, not necessarily integers.

    Returns:
        float64 array of the broadcast shape, nan where `df` is nan.
    """
    probability, df = np.broadcast_arrays(np.asarray(probability, float), np.asarray(df, float))
    known = np.where(np.isnan(df), 1.0, df)
    tail = _two_sided_tail(known)
    low, high = np.zeros(df.shape), np.full(df.shape, math.pi / 2)
    for _ in range(60):  # Halvings that exhaust float64.
        middle = (low + high) / 2
        below = 1 - tail(middle) / 2 < probability
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.where(np.isnan(df), np.nan, np.sqrt(known) * np.tan(middle))


def _two_sided_tail(df: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """P(|T| > sqrt(df) tan(u)) as a function of u in (0, pi / 2), arrays shaped like `df`."""
    a, b = df / 2, np.full(df.shape, 0.5)
    lgamma = np.vectorize(math.lgamma, otypes=[float])
    log_beta = lgamma(a) + lgamma(b) - lgamma(a + b)
    left, right = _beta_fraction(a, b), _beta_fraction(b, a)

    def tail(u: np.ndarray) -> np.ndarray:
        x, y = np.cos(u) ** 2, np.sin(u) ** 2
        front = np.exp(a * np.log(x) + b * np.log(y) - log_beta)
        # The fraction converges fast on one side of the mean, where the other, its mirror image,
        # may hit 0 / 0.
        with np.errstate(all="ignore"):
            sides = front / (a * left(x)), 1 - front / (b * right(y))
        return np.where(x * (a + b + 2) < a + 1, *sides)

    return tail


def _beta_fraction(a: np.ndarray, b: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The continued fraction 1 + c_1 x / (1 + c_2 x / (1 + ...)) of A. and S. 26.5.8."""
    depth = 12 + 3 * math.isqrt(int(max(a.max(), b.max())))  # The error no longer moves there.
    m = np.arange(depth).reshape(-1, *[1] * a.ndim)
    odd = -(a + m) * (a + b + m) / ((a + 2 * m) * (a + 2 * m + 1))
    even = (m + 1) * (b - m - 1) / ((a + 2 * m + 1) * (a + 2 * m + 2))
    backwards = [c for pair in zip(even[::-1], odd[::-1]) for c in pair]

    def fraction(x: np.ndarray) -> np.ndarray:
        value = np.ones_like(x)
        for c in backwards:
            value = 1 + c * x / value
        return value

    return fraction


def _windows(losses: np.ndarray, window: int) -> np.ndarray:
    """[..., num_steps] -> float64 [..., num_windows, window]; all nan where one is not finite."""
    losses = np.asarray(losses, np.float64)
    num_windows = losses.shape[-1] // window
    windows = losses[..., : num_windows * window].reshape(*losses.shape[:-1], num_windows, window)
    return np.where(np.isfinite(windows).all(axis=-1, keepdims=True), windows, np.nan)


def _log(values: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.log(np.where(values == 0.0, ZERO_LOSS, values))


def _cell(members: Sequence[results.Run], step: int, window: int, statistic) -> str:
    parts = [run.losses[step - window : step] for run in members]
    values = [statistic(losses, window) for losses in parts if losses.size == window]
    if not values:
        return "-"
    mean, sd, count = (part[0] for part in over_seeds(values))
    if not count:
        return "diverged"
    return f"{mean:.2f}" if count == 1 else f"{mean:.2f} ± {sd:.2f}"
