"""One meta-training run from its flags to its exported rule: `python -m l2o_tf.train`."""

import textwrap
import time
from collections.abc import Callable

from l2o_tf import artifacts
from l2o_tf.core import errors, flags
from l2o_tf.run import build, config, directory, display, metrics, snapshots, summaries
from l2o_tf.training import curriculum, trainer

_SECONDS_BETWEEN_CHECKPOINTS = 60


def _ignore(text: str) -> None:
    pass


def train(run_config: config.TrainConfig, tell: Callable[[str], None] = _ignore) -> None:
    """Trains or resumes a run.

    Args:
        run_config: the flags.
        tell: is given what a person should read, a text at a time; nothing is shown by default.

    Raises:
        InputError: for flags, data or a directory that cannot be used.
        Interrupted: after a KeyboardInterrupt; the run is saved.
    """
    if not run_config.workdir:
        raise errors.InputError("--workdir=DIR is needed: the directory of the run")
    run = directory.RunDirectory(run_config.workdir)
    run.check(run_config)
    rule, meta_trainer = build.trainer(run_config)
    run.create(run_config)
    start = meta_trainer.initial_progress()
    current = run.restore(start) or start
    if current.schedule.phase is curriculum.Phase.FINISHED:
        tell(f"{run.path} is done: {current.schedule.reason}.\n{_next_commands(run_config)}")
        return
    if current.num_events:
        tell(f"resuming {run.path} after epoch {current.schedule.epoch}")
    else:
        tell(f"training {run_config.rule} in {run.path} with\n{_all_flags(run_config)}")
    end = _run(run_config, run, rule, meta_trainer, current)
    tell(
        f"done after {end.schedule.epoch} epochs: {end.schedule.reason}. "
        f"Skipped meta-steps: {int(end.meta.skipped)}.\n{_next_commands(run_config)}"
    )


def _run(run_config, run, rule, meta_trainer, current) -> trainer.Progress:
    observers = [
        metrics.MetricsFile(run.metrics, current.num_events),
        summaries.TensorBoardSummaries(
            run.path, run_config.resolved().identity(), current.schedule.epoch
        ),
        shown := display.ProgressDisplay(run_config.schedule()),
    ]
    saved = time.monotonic()
    try:
        for event in meta_trainer.run(current):
            current = event.progress
            for observer in observers:
                observer.add(event)
            if isinstance(event, trainer.ValidationDone):
                _export(run, rule, run_config, event)
                period_epochs = run_config.schedule().period_epochs
                snapshots.save(run.path, event, period_epochs, run_config.max_snapshots)
            if time.monotonic() - saved > _SECONDS_BETWEEN_CHECKPOINTS:
                run.save(current)
                saved = time.monotonic()
    except KeyboardInterrupt:
        shown.close()
        run.save(current)
        raise errors.Interrupted(
            f"saved {run.path} after epoch {current.schedule.epoch}. "
            f"To resume:\n  python -m l2o_tf.train {flags.to_flags(run_config)}"
        ) from None
    run.save(current)
    shown.close()
    return current


def _export(run, rule, run_config, event: trainer.ValidationDone) -> None:
    if event.decision is not curriculum.Decision.KEEP:
        return
    card = {
        "training": run_config.identity(),
        "epoch": event.progress.schedule.epoch,
        "stage": event.stage,
        "validation_steps": event.num_steps,
        "validation_loss": event.loss,
        "chosen_because": "lowest validation loss of its curriculum stage, the last that improved",
    }
    for folder in (run.path, run.path / "stages" / f"stage_{event.stage}"):
        artifacts.save_rule(folder, rule, event.progress.best, card)


def _next_commands(run_config: config.TrainConfig) -> str:
    data = f" --plugins={','.join(run_config.plugins)}" if run_config.plugins else ""
    data += f" --dataset={run_config.dataset}"
    data += f" --data_dir={run_config.data_dir}" if run_config.data_dir else ""
    return (
        "The rule is in rule.npz and rule.json. Next:\n"
        f"  python -m l2o_tf.evaluate --rules={run_config.workdir},tuned:adam,tuned:sgd"
        f" --optimizees={','.join(run_config.optimizee)}{data}"
        f" --workdir={run_config.workdir}/evaluation\n"
        f"  tensorboard --logdir={run_config.workdir}"
    )


def _all_flags(run_config: config.TrainConfig) -> str:
    text = flags.to_flags(run_config.resolved(), defaults=True)
    return textwrap.fill(
        text, display.WIDTH, initial_indent="  ", subsequent_indent="  ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
