"""Statistics of loss curves: windows of steps, mean and spread over seeds.

Minibatch losses are heavy-tailed, so the logarithm of a window's mean loss and the mean of its
log losses differ by up to 2. The paper's figures are means of logs; tables here show both.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from l2o_tf.core import errors
from l2o_tf.evaluation import results

# What a loss of exactly 0 counts as in tables and figures: just below the smallest
# non-zero float32 cross-entropy of 128 examples, 2^-23 / 128 = 9e-10.
ZERO_LOSS = 1e-10


class Summary(NamedTuple):
    """Mean and spread over seeds, arrays [num_windows].

    Attributes:
        mean: the mean over the seeds with a finite value; nan where there is none.
        sd: their sample standard deviation (n - 1 in the denominator); nan below two seeds.
        num_seeds: how many seeds have a finite value.
    """

    mean: np.ndarray
    sd: np.ndarray
    num_seeds: np.ndarray


def window_ends(num_steps: int, window: int = results.WINDOW) -> np.ndarray:
    """The last step, counted from 1, of every complete window: int [num_windows]."""
    return np.arange(window, num_steps + 1, window)


def ln(losses: np.ndarray, zero: float = ZERO_LOSS) -> np.ndarray:
    """The natural logarithm of losses, continued to 0 and below.

    A loss of 0 counts as `zero` and L < 0 as 2 ln zero - ln(zero - L), the mirror image of the
    logarithm, so that of two losses below 0 the lower one counts less. Optimizees such as
    `square_cos` have negative losses.
    """
    losses = np.asarray(losses, np.float64)
    with np.errstate(invalid="ignore"):
        above = np.log(np.where(losses > 0, losses, zero))
        below = 2 * np.log(zero) - np.log(zero - np.minimum(losses, 0))
    return np.where(losses > 0, above, below)


def log_of_mean(losses: np.ndarray, window: int = results.WINDOW) -> np.ndarray:
    """ln(mean loss) of every window.

    Args:
        losses: [..., num_steps]; an incomplete last window is dropped.
        window: the number of steps per window.

    Returns:
        float64 [..., num_windows], `ln` of the means. A window with a loss that is not finite is
        nan.
    """
    return ln(_windows(losses, window).mean(axis=-1))


def mean_of_log(losses: np.ndarray, window: int = results.WINDOW) -> np.ndarray:
    """mean(ln loss) of every window, what the paper's figures show.

    Args:
        losses: [..., num_steps]; an incomplete last window is dropped.
        window: the number of steps per window.

    Returns:
        float64 [..., num_windows], means of `ln`. A window with a loss that is not finite is nan.
    """
    return ln(_windows(losses, window)).mean(axis=-1)


def last_tenth(losses: np.ndarray) -> np.ndarray:
    """The last tenth of the steps of losses [num_steps], at least one."""
    return losses[-max(1, len(losses) // 10) :]


def score(losses: np.ndarray, floor: float) -> float:
    """What rules and learning rates are chosen by: mean ln loss over the last tenth of the steps.

    Args:
        losses: [num_steps].
        floor: losses from 0 to this count as this, so that 0 is no worse than what is just above
            it; below 0 they go on as in `ln`.

    Returns:
        The mean, infinite for a run that diverged.
    """
    if not np.isfinite(losses).all():
        return math.inf
    last = last_tenth(losses)
    return float(ln(np.where(last > 0, np.maximum(last, floor), last), floor).mean())


def pad(values: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Arrays [num_windows_i] as rows [num_rows, max num_windows], nan where a row is shorter."""
    padded = np.full([len(values), max(map(len, values))], np.nan)
    for row, value in zip(padded, values):
        row[: len(value)] = value
    return padded


def over_seeds(values: Sequence[np.ndarray] | np.ndarray) -> Summary:
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


def _windows(losses: np.ndarray, window: int) -> np.ndarray:
    """[..., num_steps] -> float64 [..., num_windows, window]; all nan where one is not finite."""
    losses = np.asarray(losses, np.float64)
    num_windows = losses.shape[-1] // window
    windows = losses[..., : num_windows * window].reshape(*losses.shape[:-1], num_windows, window)
    return np.where(np.isfinite(windows).all(axis=-1, keepdims=True), windows, np.nan)
