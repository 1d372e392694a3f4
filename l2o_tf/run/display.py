"""What a person sees of a running meta-training."""

import math
import sys
import time
from collections.abc import Callable, Sequence

import tqdm

from l2o_tf.run import remaining
from l2o_tf.training import curriculum, trainer

WIDTH = 96  # Of texts in a terminal.
_SECONDS_BETWEEN_LINES = 10
_BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} epochs [{elapsed}{postfix}]"


class ProgressDisplay:
    """A progress bar with stage, loss and ETA; plain lines where there is no terminal.

    The total is the number of epochs until training could end: of the current stage in a
    curriculum, of the whole run without one; within a budget of steps, until it is used up if
    the stage goes on. The time left is that of the whole curriculum, see `time_left`.
    """

    def __init__(
        self,
        schedule: curriculum.Schedule,
        stream=None,
        pace: remaining.Pace | None = None,
        log: Callable[[str], None] | None = None,
        optimizees: Sequence[str] = (),
        validated: Sequence[str] = (),
    ):
        """Prepares the display.

        Args:
            schedule: the run's schedule.
            stream: where to write; stderr by default.
            pace: the run's pace, to which others add events.
            log: is given each line as well, but not the bar.
            optimizees: the names of those that are trained on.
            validated: the names of those that are validated on, if there are several to be named.
        """
        self._schedule = schedule
        self._pace = remaining.Pace() if pace is None else pace
        self._stream = sys.stderr if stream is None else stream
        self._log = log
        self._optimizees = optimizees if len(optimizees) > 1 else ()
        self._validated = validated
        self._bar = None
        self._last_line = -math.inf
        self._left, self._left_at = "", -math.inf
        if self._stream.isatty():
            self._bar = tqdm.tqdm(
                unit="epoch", file=self._stream, dynamic_ncols=True, bar_format=_BAR
            )

    def add(self, event: trainer.Event) -> None:
        """Shows an event."""
        if isinstance(event, trainer.ValidationDone):
            self._say(self._validation_line(event))
            return
        state = event.progress.schedule
        name = f"{self._optimizees[event.optimizee]}, " if self._optimizees else ""
        text = (
            f"stage {event.stage}, {event.num_steps} steps, {name}"
            f"{event.kind.replace('_', '-')} {event.main_losses.mean():.4g}"
        )
        if self._bar is not None:
            self._bar.total = self._total(state)
            self._bar.set_postfix_str(f"{text}{self._time_left(state)}", refresh=False)
            self._bar.n = state.epoch
            self._bar.refresh()
        elif time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._say(
                f"epoch {state.epoch} of {self._total(state)}{self._time_left(state)}: {text}"
            )

    def watch(self, done: int, total: int) -> None:
        """Shows that a validation is at work."""
        text = f"validation: {done} of {total} trajectories"
        if self._bar is not None:
            self._bar.set_postfix_str(text)
        elif time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            if done:
                self._say(text)

    def close(self) -> None:
        """Leaves the terminal on a fresh line."""
        if self._bar is not None:
            self._bar.close()

    def _total(self, state: curriculum.State) -> int:
        if math.isfinite(self._schedule.max_epochs):
            return int(self._schedule.max_epochs)
        if math.isfinite(self._schedule.max_steps):
            steps_left = self._schedule.max_steps - state.steps
            per_epoch = self._schedule.train_steps[state.stage] * self._schedule.trajectories
            return state.epoch + math.ceil(steps_left / per_epoch)
        period = self._schedule.period_epochs
        periods_left = max(1, int(self._schedule.min_periods) - state.periods)
        return state.epoch - state.period_epoch + periods_left * period

    def _time_left(self, state: curriculum.State) -> str:
        """`time_left`, computed once in a while."""
        if time.monotonic() - self._left_at > 1:
            self._left = time_left(self._schedule, state, self._pace)
            self._left_at = time.monotonic()
        return self._left

    def _say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.write(line, file=self._stream)
        else:
            self._stream.write(line + "\n")
            self._stream.flush()
        if self._log is not None:
            self._log(line)

    def _validation_line(self, event: trainer.ValidationDone) -> str:
        kind = "baseline" if event.decision is None else "validation"
        decision = "" if event.decision is None else f": {event.decision.value}"
        return (
            f"{kind} after epoch {event.progress.schedule.epoch}, stage {event.stage}, "
            f"{event.num_steps} steps: loss {event.loss:.4g}{self._by_optimizee(event)}{decision}"
        )

    def _by_optimizee(self, event: trainer.ValidationDone) -> str:
        if not self._validated:
            return ""
        named = zip(self._validated, event.by_optimizee, strict=True)
        return f" ({', '.join(f'{name} {loss:.4g}' for name, loss in named)})"


def time_left(schedule: curriculum.Schedule, state: curriculum.State, pace: remaining.Pace) -> str:
    """ ", 1:10:00 left", with "at least" or an upper bound in a curriculum; "" if unknown."""
    low = pace.seconds(remaining.least(schedule, state))
    if low is None:
        return ""
    most = remaining.most(schedule, state)
    high = None if most is None else pace.seconds(most)
    low_text = tqdm.tqdm.format_interval(low)
    if high is None:
        return f", at least {low_text} left"
    if high < 1.05 * low + 1:
        return f", {low_text} left"
    return f", {low_text} to {tqdm.tqdm.format_interval(high)} left"
