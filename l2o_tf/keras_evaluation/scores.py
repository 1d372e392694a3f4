"""How much faster a rule trains than a baseline: speed-ups over tasks and their middle.

The speed-up of learned optimizers is told in steps, as by L. Metz et al., "VeLO" (2022): the steps
that the baseline needs to come as low as the rule. Over tasks it is the interquartile mean of
R. Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (2021).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

_NUM_RESAMPLES = 2000


class Curve(NamedTuple):
    """Training losses over steps.

    Attributes:
        losses: trailing means over a window of the mean over seeds, float64 [num_steps - window
            + 1]; empty where a run diverged.
        window: the number of steps in a mean.
        num_steps: the number of steps of the training.
    """

    losses: np.ndarray
    window: int
    num_steps: int

    @property
    def diverged(self) -> bool:
        """Whether a run diverged."""
        return not len(self.losses)

    @property
    def final(self) -> float:
        """The mean loss of the last window; infinite where a run diverged."""
        return np.inf if self.diverged else float(self.losses[-1])


def curve(runs: Sequence[Sequence[float]], num_steps: int) -> Curve:
    """The curve of runs with several seeds, smoothed over a twentieth of the steps.

    One run that is too short or has no losses, or that ends at more than twice the loss of its
    start, makes the whole curve a diverged one. Of a loss below 0 that is more than its size above
    its start.
    """
    window = max(1, num_steps // 20)
    smooth = [_trailing_means(np.asarray(losses, np.float64), window) for losses in runs]
    if any(len(losses) < max(1, num_steps) for losses in runs) or any(map(_rises, smooth)):
        return Curve(np.empty([0]), window, num_steps)
    return Curve(np.mean(smooth, axis=0), window, num_steps)


def steps_to(found: Curve, loss: float) -> int | None:
    """The first step at which a curve is as low as `loss`; None where it never is."""
    return _first_step(found, loss) if (found.losses <= loss).any() else None


def speed_up(rule: Curve, baseline: Curve) -> float:
    """How many steps the baseline takes for one of the rule's; 0 where the rule diverged.

    Where the rule ends as low as the baseline ever gets, the number of steps of the whole training
    over those of the rule to there; else the steps after which the baseline is as low as the rule
    in the end, over those of the whole training.
    """
    if rule.diverged:
        return 0.0
    if baseline.diverged:
        return np.inf
    target = float(baseline.losses.min())
    if rule.final <= target:
        return baseline.num_steps / _first_step(rule, target)
    return _first_step(baseline, rule.final) / rule.num_steps


class Middle(NamedTuple):
    """The interquartile mean of speed-ups and its 95 % bootstrap interval over tasks."""

    mean: float
    low: float
    high: float


def interquartile_mean(values: Sequence[float]) -> Middle:
    """The mean without the lowest and the highest quarter of the values."""
    array = np.asarray(values, np.float64)
    chosen = np.random.default_rng(0).integers(0, len(array), [_NUM_RESAMPLES, len(array)])
    resampled = scipy.stats.trim_mean(array[chosen], 0.25, axis=1)
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Middle(float(scipy.stats.trim_mean(array, 0.25)), float(low), float(high))


def calibrated(finals: Mapping[str, Mapping[str, float]]) -> str:
    """The setting that is best over all tasks, by its mean rank; the first of equal ones.

    Args:
        finals: by setting, then by task, the final loss; infinite where it diverged.
    """
    settings = list(finals)
    table = [
        [finals[setting][task] for setting in settings] for task in next(iter(finals.values()))
    ]
    ranks = scipy.stats.rankdata(table, axis=1).mean(axis=0)
    return settings[int(np.argmin(ranks))]


def best(finals: Mapping[str, float]) -> str:
    """The setting with the lowest final loss."""
    return min(finals, key=finals.__getitem__)


def _first_step(found: Curve, loss: float) -> int:
    """The first step at which a curve that gets as low as `loss` is so."""
    return int(np.argmax(found.losses <= loss)) + found.window


def _rises(smooth: np.ndarray) -> bool:
    return bool(smooth[-1] > smooth[0] + abs(smooth[0]))


def _trailing_means(losses: np.ndarray, window: int) -> np.ndarray:
    if len(losses) < window:
        return np.array([np.inf])
    # Not by differences of a running sum, which a single high loss leaves without digits.
    return np.lib.stride_tricks.sliding_window_view(losses, window).mean(axis=-1)
