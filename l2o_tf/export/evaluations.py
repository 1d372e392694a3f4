"""Bundles of evaluations: many runs of rules on optimizees, and what came of them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from l2o_tf import rules
from l2o_tf.core import errors
from l2o_tf.core import flags as core_flags
from l2o_tf.evaluation import config, contenders, results, session, tuning, workbench
from l2o_tf.export import bundle, classifiers, trajectory_bundle

_KIND = "evaluate"


def write(
    directory: str,
    flags: config.EvaluateConfig,
    widths: tuple[int, ...],
    with_data: bool = True,
    steps_per_call: int = trajectory_bundle.STEPS_PER_CALL,
) -> int:
    """Writes a bundle that runs an evaluation.

    Args:
        directory: where to.
        flags: the evaluation.
        widths: how many trajectories the programs run at once.
        with_data: whether the images are part of the bundle.
        steps_per_call: how many steps a program takes.

    Returns:
        The number of runs.

    Raises:
        InputError: for a rule, an optimizee or data that cannot be used or cannot run in lanes,
            or a learning rate that has not been tuned.
    """
    loaded = contenders.load(flags.rules, flags.init_lr_range)
    session.check_keys(flags, loaded)
    bench = workbench.Workbench(flags, lambda text: None)
    groups = _groups(flags, bench, loaded)
    return trajectory_bundle.write(
        directory,
        _KIND,
        list(groups.values()),
        {name: classifiers.vectorizable(bench.create(name)) for name in flags.optimizees},
        {
            seed: workbench.seed_of_run(seed)
            for seed in range(flags.seed, flags.seed + flags.num_seeds)
        },
        trajectory_bundle.Extent(flags.num_steps, widths, with_data, steps_per_call),
        {
            "flags": dataclasses.asdict(flags),
            "fingerprints": {label: contenders.fingerprint(rule) for label, rule in loaded.items()},
        },
    )


def _groups(flags, bench, loaded) -> trajectory_bundle.Groups:
    groups = trajectory_bundle.Groups()
    for optimizee in flags.optimizees:
        task = bench.task(optimizee)
        for label, rule in loaded.items():
            rate = None
            if isinstance(rule, tuning.Tuned):
                rate = bench.known_rate(rule.name, optimizee)
                if rate is None:
                    raise errors.InputError(
                        f"{label} on {optimizee} has no tuned learning rate in {flags.tuned_dir}: "
                        f"run {_tune_command(flags, rule.name, optimizee, task.options)}"
                    )
                rule = rules.create(rule.name, learning_rate=rate)
            described = {
                "optimizee": task.optimizee,
                "dataset": task.dataset,
                "split": task.split,
                "options": task.options,
                "learning_rate": rate,
            }
            groups.add(optimizee, label, rule, described)
    return groups


def _tune_command(flags: config.EvaluateConfig, rule: str, optimizee: str, options: str) -> str:
    """The command that finds a learning rate where an evaluation looks for it.

    Args:
        flags: the evaluation.
        rule: the name of the rule.
        optimizee: the optimizee.
        options: the optimizee's own options, of those that the flags have.
    """
    own: dict[str, Any] = {
        "rules": (rule,),
        "optimizees": (optimizee,),
        "optimizee_options": options,
    }
    shared = {field.name for field in dataclasses.fields(flags)} - own.keys() - {"num_seeds"}
    fields = dataclasses.fields(config.TuneConfig)
    given = {f.name: getattr(flags, f.name) for f in fields if f.name in shared} | own
    # Rule and optimizee are said even where they are the defaults.
    named = {f.name for f in fields if given.get(f.name, f.default) != f.default}
    named |= {"rules", "optimizees"}
    words = core_flags.to_flags(config.TuneConfig(**given), defaults=True, only=named)
    return f"python -m l2o_tf.tune {words}"


def take_back(
    directory: str,
    workdir: str,
    tell: Callable[[str], None],
    show: Callable[[str], None] = lambda text: None,
) -> None:
    """Writes the results of an evaluation, as `evaluate` would have.

    Args:
        directory: the folder that `run_bundle.py` wrote.
        workdir: the results' directory, which may hold other runs of the evaluation.
        tell: is given what a person should read, a line at a time.
        show: is given the table of all and where it is.

    Raises:
        InputError: if there are no results, or they are of another version or evaluation.
    """

    def parse(about: dict[str, Any], losses: dict[int, np.ndarray]):
        values = bundle.config_values(about["flags"])
        flags = config.EvaluateConfig(**{**values, "workdir": workdir})
        fields = [name for name in results.Run._fields if name != "losses"]
        runs = [
            results.Run(losses=losses[i], **{name: run[name] for name in fields})
            for i, run in enumerate(about["runs"])
            if i in losses
        ]
        return flags, about["fingerprints"], runs

    flags, fingerprints, runs = trajectory_bundle.read(directory, _KIND, parse)
    session.adopt(flags, fingerprints, runs, tell, show)
