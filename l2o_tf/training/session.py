"""One meta-training run from its flags to its exported rule: `python -m l2o_tf.train`."""

import signal
import sys
import time

from l2o_tf import (
    artifacts,
    cli,
    config,
    errors,
    metrics,
    optimizees,
    progress,
    rules,
    runs,
    seeds,
    summaries,
)
from l2o_tf.data import datasets
from l2o_tf.rules import mixture
from l2o_tf.training import curriculum, trainer
from l2o_tf.training.plan import Plan

_SECONDS_BETWEEN_CHECKPOINTS = 60


def build_trainer(run_config: config.TrainConfig) -> tuple[rules.UpdateRule, trainer.Trainer]:
    """Creates the rule to train and its trainer from the flags."""
    rule = rules.create_learned(run_config.rule, seeds.make_seed(run_config.seed, "rule"))
    teachers = [_teacher(spec) for spec in run_config.teachers]
    for name in run_config.optimizee:
        optimizees.get(name)
    dataset = datasets.load(run_config.dataset, "train", run_config.data_dir)
    recipe = trainer.Recipe(
        schedule=run_config.schedule(),
        unroll_length=run_config.unroll_length,
        imitation_r=run_config.imitation_r,
        validation_epochs=run_config.validation_epochs,
        seed=run_config.seed,
    )
    return rule, trainer.Trainer(
        rule,
        [
            optimizees.create(name, dataset, batch_size=run_config.batch_size)
            for name in run_config.optimizee
        ],
        rules.create("adam", learning_rate=run_config.meta_learning_rate),
        recipe,
        mixture.OneOf(teachers),
        steps_per_label=run_config.steps_per_label,
        plan=Plan(second_derivatives=run_config.second_derivatives),
    )


def _teacher(spec: str) -> rules.UpdateRule:
    if spec.partition(":")[0] in rules.learned_names():
        raise errors.InputError(f"teacher {spec!r} must be an analytical rule, such as adam:0.01")
    return rules.from_spec(spec)


def train(run_config: config.TrainConfig) -> int:
    """Trains or resumes a run; returns the exit code."""
    if not run_config.workdir:
        raise errors.InputError("--workdir=DIR is needed: the directory of the run")
    run = runs.RunDirectory(run_config.workdir)
    run.check(run_config)
    rule, meta_trainer = build_trainer(run_config)
    run.create(run_config)
    start = meta_trainer.initial_progress()
    current = run.restore(start) or start
    if current.schedule.phase is curriculum.Phase.FINISHED:
        _say(f"{run.path} is done: {current.schedule.reason}.\n{_next_commands(run_config)}")
        return 0
    if current.num_events:
        _say(f"resuming {run.path} after epoch {current.schedule.epoch}")
    else:
        _say(f"training {run_config.rule} in {run.path}; flags: {cli.to_flags(run_config)}")
    return _run(run_config, run, rule, meta_trainer, current)


def _run(run_config, run, rule, meta_trainer, current) -> int:
    observers = [
        metrics.MetricsFile(run.metrics, current.num_events),
        summaries.TensorBoardSummaries(run.path, run_config.identity(), current.schedule.epoch),
        display := progress.ProgressDisplay(run_config.schedule()),
    ]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    saved = time.monotonic()
    try:
        for event in meta_trainer.run(current):
            current = event.progress
            for observer in observers:
                observer.add(event)
            if isinstance(event, trainer.ValidationDone):
                _export(run, rule, run_config, event)
            if time.monotonic() - saved > _SECONDS_BETWEEN_CHECKPOINTS:
                run.save(current)
                saved = time.monotonic()
    except KeyboardInterrupt:
        display.close()
        run.save(current)
        _say(
            f"\ninterrupted: saved {run.path} after epoch {current.schedule.epoch}. "
            f"To resume:\n  python -m l2o_tf.train {cli.to_flags(run_config)}"
        )
        return 130
    run.save(current)
    display.close()
    _say(
        f"done after {current.schedule.epoch} epochs: {current.schedule.reason}. "
        f"Skipped meta-steps: {int(current.meta.skipped)}.\n{_next_commands(run_config)}"
    )
    return 0


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
    for directory in (run.path, run.path / "stages" / f"stage_{event.stage}"):
        artifacts.save_rule(directory, rule, event.progress.best, card)


def _next_commands(run_config: config.TrainConfig) -> str:
    data = f" --dataset={run_config.dataset}"
    data += f" --data_dir={run_config.data_dir}" if run_config.data_dir else ""
    return (
        "The rule is in rule.npz and rule.json. Next:\n"
        f"  python -m l2o_tf.evaluate --rules={run_config.workdir},tuned:adam,tuned:sgd"
        f" --optimizees={','.join(run_config.optimizee)}{data}"
        f" --workdir={run_config.workdir}/evaluation\n"
        f"  tensorboard --logdir={run_config.workdir}"
    )


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
