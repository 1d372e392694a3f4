"""Lines that say how far long runs are."""

import math
import time
from collections.abc import Callable

_SECONDS_BETWEEN_LINES = 10


class Progress:
    """Says at most every ten seconds how far a run and all runs are."""

    def __init__(self, tell: Callable[[str], None], num_runs: int, num_steps: int):
        """Of `num_runs` runs of `num_steps` steps; `tell` is given the lines."""
        self._tell, self._num_steps = tell, num_steps
        self._steps_left = num_runs * num_steps
        self._what, self._steps = "", 0
        self._seconds, self._timed_steps = 0.0, 0
        self._since = self._last_line = time.monotonic()

    def start(self, what: str) -> None:
        """Begins a run."""
        self._what, self._steps = what, 0
        self._since = time.monotonic()

    def skip(self) -> None:
        """Takes a run off those that are left."""
        self._steps_left -= self._num_steps

    def __call__(self, steps: int) -> None:
        """Takes note that `steps` steps of the run are done."""
        new, now = steps - self._steps, time.monotonic()
        if self._steps:  # The first steps of a run may have been compiled.
            self._seconds += now - self._since
            self._timed_steps += new
        self._steps, self._since = steps, now
        self._steps_left -= new
        if now - self._last_line > _SECONDS_BETWEEN_LINES and steps < self._num_steps:
            self._last_line = now
            self._tell(f"{self._what}: step {steps} of {self._num_steps}{self._eta()}")

    def _eta(self) -> str:
        if not self._timed_steps:
            return ""
        per_step = self._seconds / self._timed_steps
        run, everything = (self._num_steps - self._steps) * per_step, self._steps_left * per_step
        text = f", {duration(run)} left"
        return text + (f", about {duration(everything)} for all" if everything > run else "")


def duration(seconds: float) -> str:
    """Seconds as people say them, such as "45 s", "12 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
