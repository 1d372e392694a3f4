"""One meta-training run from its flags to its exported rule: `python -m l2o_tf.train`."""

import signal
import sys
import textwrap
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
from l2o_tf.optimizees import scaling
from l2o_tf.rules import mixture
from l2o_tf.training import curriculum, meta_optimizers, parts, trainer

_SECONDS_BETWEEN_CHECKPOINTS = 60


def build_trainer(run_config: config.TrainConfig) -> tuple[rules.UpdateRule, trainer.Trainer]:
    """Creates the rule to train and its trainer from the flags."""
    seed = seeds.make_seed(run_config.seed, "rule")
    rule = rules.create_learned(run_config.rule, seed, **run_config.options_of_rule())
    teachers = [_teacher(spec) for spec in run_config.teachers]
    trained_on = _optimizees(run_config)
    validated_on, bound = _validated_on(run_config, trained_on), run_config.random_scaling
    if bound:
        trained_on = [scaling.RandomScaling(optimizee, bound) for optimizee in trained_on]
    return rule, trainer.Trainer(
        rule,
        trained_on,
        meta_optimizers.create(
            run_config.meta_optimizer, run_config.meta_learning_rate, run_config.l2_reg
        ),
        _recipe(run_config),
        mixture.OneOf(teachers, run_config.teacher_weights),
        mixture.PerStep(rule, teachers, run_config.teacher_weights),
        validation_optimizees=validated_on,
        steps_per_label=run_config.steps_per_label,
        estimator=parts.estimator(run_config),
        plan=parts.plan(run_config),
        shared_meta_optimizer=run_config.shared_meta_optimizer,
    )


def _recipe(run_config: config.TrainConfig) -> trainer.Recipe:
    return trainer.Recipe(
        schedule=run_config.schedule(),
        unroll_length=run_config.unroll_length,
        imitation_r=run_config.imitation_r,
        imitation_per_unroll=run_config.imitation_choice == "unroll",
        self_improving_epochs=run_config.self_improving_epochs,
        validation_epochs=run_config.validation_epochs,
        validate_final_minibatch=run_config.validation_score == "final_minibatch",
        weight_average=run_config.weight_average,
        seed=run_config.seed,
    )


def _validated_on(
    run_config: config.TrainConfig, trained_on: list[optimizees.Optimizee]
) -> list[optimizees.Optimizee]:
    """The first optimizee; of an ensemble as many problems as trajectories, evenly spaced."""
    if not run_config.problem_sets:
        return trained_on[:1]
    count = min(len(trained_on), run_config.validation_epochs)
    return [trained_on[i * len(trained_on) // count] for i in range(count)]


def _optimizees(run_config: config.TrainConfig) -> list[optimizees.Optimizee]:
    if run_config.problem_sets:
        return parts.problems(run_config)
    for name in run_config.optimizee:
        optimizees.get(name)
    dataset = datasets.load(run_config.dataset, "train", run_config.data_dir)
    return [
        optimizees.create(name, dataset, batch_size=run_config.batch_size)
        for name in run_config.optimizee
    ]


def _teacher(spec: str) -> rules.UpdateRule:
    known = rules.analytical_names()
    if spec.partition(":")[0].strip() not in known:
        raise errors.InputError(
            f"--teachers={spec} must be name:learning_rate of an analytical rule, such as "
            f"adam:0.01; known: {', '.join(known)}"
        )
    try:
        return rules.from_spec(spec)
    except errors.InputError as error:
        raise errors.InputError(f"--teachers={spec}: {error}") from None


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
        _say(f"training {run_config.rule} in {run.path} with\n{_all_flags(run_config)}")
    return _run(run_config, run, rule, meta_trainer, current)


def _run(run_config, run, rule, meta_trainer, current) -> int:
    observers = [
        metrics.MetricsFile(run.metrics, current.num_events),
        summaries.TensorBoardSummaries(
            run.path, run_config.resolved().identity(), current.schedule.epoch
        ),
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


def _all_flags(run_config: config.TrainConfig) -> str:
    text = cli.to_flags(run_config.resolved(), defaults=True)
    return textwrap.fill(
        text, cli.WIDTH, initial_indent="  ", subsequent_indent="  ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
