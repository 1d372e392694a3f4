"""Bundles of evaluations: many runs of rules on optimizees, and what came of them."""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import errors, files, seeds
from l2o_tf.evaluation import config, contenders, results, runner, session, tuning, workbench
from l2o_tf.export import bundle, carried, classifiers, programs, trajectories
from l2o_tf.training import unrolls

_MODULES = ("evaluating.py",)
_RESULTS = "evaluation.npz"


@dataclasses.dataclass
class _Group:
    """Rules that share programs, on one optimizee: label, rule and, if tuned, learning rate."""

    optimizee: str
    members: list[tuple[str, rules.UpdateRule, float | None]]


def write(
    directory: str,
    flags: config.EvaluateConfig,
    widths: tuple[int, ...],
    with_data: bool = True,
    steps_per_call: int = runner.CHUNK,
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
    steps_per_call = min(steps_per_call, flags.num_steps)
    loaded = contenders.load(flags.rules, flags.init_lr_range)
    session.check_keys(flags, loaded)
    bench = workbench.Workbench(flags, lambda text: None)
    groups = _groups(flags, bench, loaded)
    path = pathlib.Path(directory)
    made = {name: classifiers.vectorizable(bench.create(name)) for name in flags.optimizees}
    described: dict[str, dict[str, Any]] = {}
    for g, group in enumerate(groups):
        rule, optimizee = group.members[0][1], made[group.optimizee]
        described.update(_write_programs(path, g, rule, optimizee, widths, steps_per_call))
    recipes = [_recipe(flags, bench.task(group.optimizee), group) for group in groups]
    arrays = {**_first_params(flags, made.values()), **_weights(groups)}
    data_sets = {
        f"data_{i}": bundle.write_data(path, f"data_{i}", optimizee.dataset, with_data)
        for i, optimizee in enumerate(made.values())
    }
    files.write_arrays(path / "initial.npz", arrays, compressed=True)
    about: dict[str, Any] = {
        "what": bundle.identity("evaluate", recipes, arrays),
        "flags": dataclasses.asdict(flags),
        "fingerprints": {label: contenders.fingerprint(rule) for label, rule in loaded.items()},
        "num_steps": flags.num_steps,
        "steps_per_call": steps_per_call,
        "widths": sorted(widths),
        "data": data_sets,
        "programs": described,
        "groups": recipes,
    }
    bundle.finish(path, about, _MODULES)
    return sum(len(recipe["runs"]) for recipe in recipes)


def _first_params(flags, made) -> dict[str, np.ndarray]:
    """What trajectories start from, by the numbers of optimizee and tensor: [num_seeds, ...]."""
    arrays = {}
    for i, optimizee in enumerate(made):
        drawn = [
            optimizee.init(seeds.fold(workbench.seed_of_run(seed), seeds.Stream.OPTIMIZEE))
            for seed in _seeds(flags)
        ]
        for k, tensors in enumerate(zip(*drawn)):
            arrays[f"params/{i}/{k}"] = np.stack(tensors)
    return arrays


def _weights(groups: list[_Group]) -> dict[str, np.ndarray]:
    """The weights of all rules, by the numbers of group and member and their name."""
    return {
        f"weights/{g}/{m}/{key}": np.asarray(value)
        for g, group in enumerate(groups)
        for m, (_, rule, _) in enumerate(group.members)
        for key, value in rule.weights().items()
    }


def _recipe(flags, task: tuning.Task, group: _Group) -> dict[str, Any]:
    """What bundle.json says of a group: its data, first parameters and runs."""
    number = flags.optimizees.index(group.optimizee)
    runs = [
        {
            "rule": label,
            "optimizee": task.optimizee,
            "dataset": task.dataset,
            "split": task.split,
            "seed": seed,
            "learning_rate": rate,
            "member": m,
            "params": seed - flags.seed,
            "seed_of_trajectory": workbench.seed_of_run(seed).numpy().tolist(),
            "seed_of_rule": unrolls.rule_seed(workbench.seed_of_run(seed)).numpy().tolist(),
        }
        for seed in _seeds(flags)
        for m, (label, _, rate) in enumerate(group.members)
    ]
    return {"data": f"data_{number}", "params": number, "runs": runs}


def _seeds(flags) -> range:
    return range(flags.seed, flags.seed + flags.num_seeds)


def _groups(flags, bench, loaded) -> list[_Group]:
    groups: dict[Any, _Group] = {}
    for optimizee in flags.optimizees:
        for label, rule in loaded.items():
            rate = None
            if isinstance(rule, tuning.Tuned):
                rate = bench.known_rate(rule.name, optimizee)
                if rate is None:
                    raise errors.InputError(
                        f"{label} on {optimizee} has no tuned learning rate in {flags.tuned_dir}: "
                        f"run python -m l2o_tf.tune --rules={rule.name} --optimizees={optimizee}"
                    )
                rule = rules.create(rule.name, learning_rate=rate)
            key = optimizee, runner.architecture_of(rule)
            group = groups.setdefault(key, _Group(optimizee, []))
            group.members.append((label, rule, rate))
    return list(groups.values())


def _write_programs(path, number, rule, optimizee, widths, steps_per_call) -> dict[str, dict]:
    params = optimizee.init(seeds.make_seed(0, "shapes"))
    exported = {f"init_{number}": programs.rule_init(rule, params)}
    images = carried.Images(
        tf.constant(optimizee.dataset.images), tf.constant(optimizee.dataset.labels)
    )
    for width in widths:
        lanes = trajectories.Trajectories(rule, optimizee, width, steps_per_call)
        exported[f"evaluate_{number}_{width}"] = programs.evaluate(lanes, images, rule.weights())
    return bundle.write_programs(path, exported)


def take_back(directory: str, workdir: str, tell: Callable[[str], None]) -> None:
    """Writes the results of an evaluation, as `evaluate` would have.

    Args:
        directory: the folder that `run_bundle.py` wrote.
        workdir: the results' directory, which may hold other runs of the evaluation.
        tell: is given what a person should read, a line at a time.

    Raises:
        InputError: if there are no results, or they are of another version or evaluation.
    """
    path = pathlib.Path(directory) / _RESULTS
    arrays = files.read_arrays(path)
    try:
        about = json.loads(arrays.pop("about").tobytes())
        bundle.check_identity(about["what"], "evaluate", str(path))
        given: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in about["flags"].items()
        }
        flags = config.EvaluateConfig(**{**given, "workdir": workdir})
        fields = [name for name in results.Run._fields if name != "losses"]
        runs = [
            results.Run(losses=arrays[str(i)], **{name: run[name] for name in fields})
            for i, run in enumerate(about["runs"])
            if str(i) in arrays
        ]
        fingerprints = about["fingerprints"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, errors.InputError):
            raise
        raise errors.InputError(f"cannot read {path}: {error!r}") from error
    if not runs:
        raise errors.InputError(
            f"{path} has no run that is done: go on with run_bundle.py --resume"
        )
    session.adopt(flags, fingerprints, runs, tell)
