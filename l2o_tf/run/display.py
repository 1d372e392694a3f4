"""What a person sees of a running meta-training."""

import math
import sys
import time

import tqdm

from l2o_tf.training import curriculum, trainer

WIDTH = 96  # Of texts in a terminal.
_SECONDS_BETWEEN_LINES = 10


class ProgressDisplay:
    """A progress bar with stage, loss and ETA; plain lines where there is no terminal.

    The total is the number of epochs until training could end: of the current stage in a
    curriculum, of the whole run without one; within a budget of steps, until it is used up if
    the stage goes on.
    """

    def __init__(self, schedule: curriculum.Schedule, stream=None):
        self._schedule = schedule
        self._stream = sys.stderr if stream is None else stream
        self._bar = None
        self._last_line = -math.inf
        self._started: tuple[float, int] | None = None
        if self._stream.isatty():
            self._bar = tqdm.tqdm(
                unit="epoch", file=self._stream, dynamic_ncols=True, smoothing=0.1
            )

    def add(self, event: trainer.Event) -> None:
        """Shows an event."""
        if isinstance(event, trainer.ValidationDone):
            self._say(self._validation_line(event))
            return
        state = event.progress.schedule
        text = (
            f"stage {event.stage}, {event.num_steps} steps, "
            f"{event.kind.replace('_', '-')} {event.main_losses.mean():.4g}"
        )
        if self._bar is not None:
            self._bar.total = self._total(state)
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.n = state.epoch
            self._bar.refresh()
        elif time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._say(f"epoch {state.epoch} of {self._total(state)}{self._eta(state)}: {text}")

    def close(self) -> None:
        """Leaves the terminal on a fresh line."""
        if self._bar is not None:
            self._bar.close()

    def _total(self, state: curriculum.State) -> int:
        if math.isfinite(self._schedule.max_epochs):
            return int(self._schedule.max_epochs)
        if math.isfinite(self._schedule.max_steps):
            steps_left = self._schedule.max_steps - state.steps
            return state.epoch + math.ceil(steps_left / self._schedule.train_steps[state.stage])
        period = self._schedule.period_epochs
        periods_left = max(1, int(self._schedule.min_periods) - state.periods)
        return state.epoch - state.period_epoch + periods_left * period

    def _eta(self, state: curriculum.State) -> str:
        now = time.monotonic()
        if self._started is None:
            self._started = (now, state.epoch)
            return ""
        seconds_per_epoch = (now - self._started[0]) / max(1, state.epoch - self._started[1])
        seconds = seconds_per_epoch * (self._total(state) - state.epoch)
        return f", {tqdm.tqdm.format_interval(seconds)} left"

    def _say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.write(line, file=self._stream)
        else:
            self._stream.write(line + "\n")
            self._stream.flush()

    def _validation_line(self, event: trainer.ValidationDone) -> str:
        kind = "baseline" if event.decision is None else "validation"
        decision = "" if event.decision is None else f": {event.decision.value}"
        return (
            f"{kind} after epoch {event.progress.schedule.epoch}, stage {event.stage}, "
            f"{event.num_steps} steps: loss {event.loss:.4g}{decision}"
        )
