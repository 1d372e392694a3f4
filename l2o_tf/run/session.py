"""One meta-training run from its flags to its exported rule: `python -m l2o_tf.train`."""

import contextlib
import dataclasses
import textwrap
import time
from collections.abc import Callable, Iterator

import tensorflow as tf

from l2o_tf import artifacts
from l2o_tf.core import errors, flags
from l2o_tf.run import (
    build,
    config,
    directory,
    display,
    export,
    log,
    machine,
    metrics,
    next_commands,
    remaining,
    snapshots,
    summaries,
    workers,
)
from l2o_tf.training import curriculum, trainer
from l2o_tf.training.replicas import Replicas

Tell = Callable[[str], None]


def _ignore(text: str) -> None:
    pass


def _never() -> bool:
    return False


def train(
    run_config: config.TrainConfig,
    tell: Tell = _ignore,
    replicas: Replicas | None = None,
    stopping: workers.Stopping = _never,
) -> None:
    """Trains or resumes a run.

    Args:
        run_config: the flags; without a workdir the run gets a new one below runs/.
        tell: is given what a person should read, a text at a time; nothing is shown by default.
        replicas: who trains; by default what the flags ask for.
        stopping: asked before each event whether to end, for processes that train together, which
            a KeyboardInterrupt at any other time would leave waiting for each other.

    Raises:
        InputError: for flags, data or a directory that cannot be used, and if no validation of
            the run was finite, so that there is no rule to export.
        Interrupted: after a KeyboardInterrupt; the run is saved.
    """
    if replicas is None:
        replicas = Replicas() if run_config.dry_run else workers.create(run_config)
    workers.check_same(replicas, run_config)
    if not replicas.is_chief:
        workers.follow(run_config, replicas, stopping, tell)
        return
    with directory.with_workdir(run_config, tell) as placed:
        _train_in(placed, tell, replicas, stopping)


def _train_in(
    run_config: config.TrainConfig, tell: Tell, replicas: Replicas, stopping: workers.Stopping
) -> None:
    run = directory.RunDirectory(run_config.workdir)
    run.check(run_config, None if run_config.dry_run else replicas.num_replicas)
    parts = build.parts(run.with_initial_rule(run_config), replicas)
    about = machine.describe(run_config, parts.optimizees, parts.dataset, replicas)
    if run_config.dry_run:
        tell(f"{about}\n{_all_flags(run_config)}")
        return
    with run.lock():
        # Another process may have begun a run here in the meantime.
        run.check(run_config, replicas.num_replicas)
        _Session(run_config, run, parts, replicas, stopping, tell).train(about)


class _Session:
    """A run whose directory is locked."""

    def __init__(
        self,
        run_config: config.TrainConfig,
        run: directory.RunDirectory,
        parts: build.Parts,
        replicas: Replicas,
        stopping: workers.Stopping,
        tell: Tell,
    ):
        self._config, self._run = run_config, run
        self._rule, self._trainer = parts.rule, parts.trainer
        self._replicas, self._stopping, self._tell_person = replicas, stopping, tell
        self._schedule = run_config.schedule(replicas.num_replicas)
        self._threads = machine.threads()
        self._optimizees = run_config.optimizee
        if run_config.problem_sets:
            self._optimizees = tuple(f"problem_{i}" for i in range(len(parts.optimizees)))
        # Of an ensemble some problems are validated on, with a trajectory or two each.
        several = len(self._optimizees) > 1 and not run_config.problem_sets
        self._validated = self._optimizees if several else ()
        self._exporter = export.Exporter(run, parts.rule, run_config)

    def train(self, about: str) -> None:
        run, run_config = self._run, self._config
        began_with = run.create(run_config, self._threads, self._replicas.num_replicas)
        with contextlib.closing(log.RunLog(run.log)) as self._log:
            if began_with != self._threads:
                self._tell(
                    f"warning: the run was begun with {began_with} threads and goes on with "
                    f"{self._threads}: its numbers may differ in their last bits from those of an "
                    "uninterrupted run"
                )
            checkpoint = self._start()
            state = checkpoint.progress.schedule
            if state.phase is curriculum.Phase.FINISHED:
                self._tell(f"{run.path} is done: {state.reason}.")
            else:
                self._banner(about, checkpoint)
                checkpoint = self._go_on(checkpoint)
                self._tell(
                    f"done after {checkpoint.progress.schedule.epoch} epochs: "
                    f"{checkpoint.progress.schedule.reason}. "
                    f"Skipped meta-steps: {int(checkpoint.progress.meta.skipped)}."
                )
            if checkpoint.exported is None:
                raise errors.InputError(
                    f"{run.path} has no rule to export: none of its validations had a finite loss "
                    f"(see {run.metrics}); train anew with a lower --meta_learning_rate or other "
                    "flags"
                )
            commands = next_commands.after_run(run_config)
            self._tell(f"The rule is in rule.npz and rule.json. Next:\n  {commands}")

    def _start(self) -> directory.Checkpoint:
        """The last checkpoint, or a first one, with metrics and export as they were then."""
        run = self._run
        start = self._trainer.initial_progress()
        checkpoint = run.restore(start, self._tell)
        if checkpoint is None:
            if self._config.init_from:
                artifacts.save_rule(run.initial, self._rule)
            checkpoint = directory.Checkpoint(start)
            # Events without a checkpoint would look like those of a run whose checkpoints are lost.
            run.save(checkpoint)
        self._metrics = metrics.MetricsFile(
            run.metrics,
            checkpoint.progress.num_events,
            checkpoint.digest,
            self._optimizees,
            self._validated,
        )
        checkpoint = checkpoint._replace(exported=self._exporter.renew(checkpoint))
        return workers.share(self._replicas, checkpoint, start)

    def _banner(self, about: str, checkpoint: directory.Checkpoint) -> None:
        run = self._run
        left = display.time_left(
            self._schedule, checkpoint.progress.schedule, remaining.Pace(checkpoint.pace)
        )
        self._tell(about)
        if checkpoint.progress.num_events:
            self._tell(
                f"resuming {run.path} after epoch {checkpoint.progress.schedule.epoch}{left}"
            )
            return
        self._tell(f"training {self._config.rule} in {run.path} with\n{_own_flags(self._config)}")
        self._log.add(f"all flags:\n{_all_flags(self._config)}")

    def _go_on(self, checkpoint: directory.Checkpoint) -> directory.Checkpoint:
        """Trains to the end of the schedule."""
        current, pace = checkpoint, remaining.Pace(checkpoint.pace)
        saved = -float("inf")  # The first event is saved at once: what was compiled pays off.
        shown = display.ProgressDisplay(
            self._schedule,
            pace=pace,
            log=self._log.add,
            optimizees=self._optimizees,
            validated=self._validated,
        )
        with contextlib.ExitStack() as stack:
            observers = [
                stack.enter_context(contextlib.closing(observer))
                for observer in (*self._observers(current), shown)
            ]
            events = workers.events(
                self._trainer, current.progress, self._replicas, self._stopping, shown.watch
            )
            try:
                for event in _timed(events, pace):
                    for observer in observers:
                        observer.add(event)
                    facts = self._exporter.add(event) or current.exported
                    self._keep_snapshot(event)
                    # Last, so that what an interrupt leaves undone is done again.
                    current = directory.Checkpoint(
                        event.progress, self._metrics.digest, facts, pace.to_json()
                    )
                    if time.monotonic() - saved > self._config.checkpoint_seconds:
                        self._save(current)
                        saved = time.monotonic()
            except KeyboardInterrupt:
                self._save(current)
                raise errors.Interrupted(
                    f"saved {self._run.path} after epoch {current.progress.schedule.epoch}. "
                    f"To resume:\n  python -m l2o_tf.train {flags.to_flags(self._config)}"
                ) from None
            except Exception as error:
                with contextlib.suppress(errors.InputError):
                    self._save(current)
                _report_lack_of_memory(error)
                raise
            self._save(current)
        return current

    def _observers(self, checkpoint: directory.Checkpoint) -> Iterator[trainer.Observer]:
        run, run_config = self._run, self._config
        yield self._metrics
        yield summaries.TensorBoardSummaries(
            run.path,
            run_config.resolved().identity(),
            checkpoint.progress.schedule.epoch,
            self._metrics.validated_steps,
            self._optimizees,
            self._validated,
        )

    def _keep_snapshot(self, event: trainer.Event) -> None:
        if isinstance(event, trainer.ValidationDone):
            snapshots.save(
                self._run.path, event, self._schedule.period_epochs, self._config.max_snapshots
            )

    def _save(self, checkpoint: directory.Checkpoint) -> None:
        self._metrics.sync()  # Before a checkpoint that says that these lines are there.
        self._run.save(checkpoint)

    def _tell(self, text: str) -> None:
        self._log.add(text)
        self._tell_person(text)


def _timed(events: Iterator[trainer.Event], pace: remaining.Pace) -> Iterator[trainer.Event]:
    """The events, whose time `pace` has before they are handed on."""
    while True:
        started = time.monotonic()
        event = next(events, None)
        if event is None:
            return
        pace.add(event, time.monotonic() - started)
        yield event


def _report_lack_of_memory(error: Exception) -> None:
    """Raises InputError if that is what the error is."""
    if isinstance(error, tf.errors.ResourceExhaustedError):
        raise errors.InputError(
            "out of memory: try a smaller --batch_size, --unroll_length or optimizee "
            f"({errors.reason(error)})"
        ) from error


def _own_flags(run_config: config.TrainConfig) -> str:
    """What is not the default, or follows from what is not; the rest is in run.log."""
    resolved, default = run_config.resolved(), config.TrainConfig().resolved()
    own = [
        field.name
        for field in dataclasses.fields(resolved)
        if getattr(resolved, field.name) != getattr(default, field.name)
        or getattr(run_config, field.name) != field.default
    ]
    rest = len(dataclasses.fields(resolved)) - len(own)
    shown = _fill(flags.to_flags(resolved, defaults=True, only=own))
    return f"{shown}\n  and {rest} flags with their defaults (run.log and --dry_run list them)"


def _all_flags(run_config: config.TrainConfig) -> str:
    return _fill(flags.to_flags(run_config.resolved(), defaults=True))


def _fill(text: str) -> str:
    return textwrap.fill(
        text,
        display.WIDTH,
        initial_indent="  ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
