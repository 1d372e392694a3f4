"""Bundles of runs of rules on optimizees, whatever the runs are for."""

import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import errors, files, seeds
from l2o_tf.evaluation import runner
from l2o_tf.export import bundle, carried, classifiers, programs, trajectories
from l2o_tf.training import unrolls

_MODULES = ("evaluating.py",)
_RESULTS = "evaluation.npz"
STEPS_PER_CALL = 100


class Group(NamedTuple):
    """Rules that share programs, on one optimizee.

    Attributes:
        optimizee: the name of the optimizee.
        members: label and rule of each.
        described: for each what results say of its runs.
    """

    optimizee: str
    members: list[tuple[str, rules.UpdateRule]]
    described: list[dict[str, Any]]


class Groups(dict[Any, Group]):
    """Groups by what their programs depend on."""

    def add(
        self, optimizee: str, label: str, rule: rules.UpdateRule, described: dict[str, Any]
    ) -> None:
        """Puts a rule into the group that it belongs to."""
        key = optimizee, runner.architecture_of(rule)
        group = self.setdefault(key, Group(optimizee, [], []))
        group.members.append((label, rule))
        group.described.append(described)


class Extent(NamedTuple):
    """How much of everything a bundle has.

    Attributes:
        num_steps: the steps of a run.
        widths: how many runs the programs take at once.
        with_data: whether the images are part of the bundle.
        steps_per_call: how many steps a program takes.
    """

    num_steps: int
    widths: tuple[int, ...]
    with_data: bool = True
    steps_per_call: int = STEPS_PER_CALL


def write(
    directory: str,
    kind: str,
    groups: Sequence[Group],
    made: Mapping[str, classifiers.Classifier],
    seeds_of_runs: Mapping[int, seeds.Seed],
    extent: Extent,
    about: dict[str, Any],
) -> int:
    """Writes a bundle.

    Args:
        directory: where to.
        kind: what the runs are for.
        groups: the rules.
        made: the optimizees by name, in a form that runs in lanes.
        seeds_of_runs: the seed of the trajectory by the number of the run's seed.
        extent: how much of everything.
        about: what bundle.json has to say more, and what results repeat.

    Returns:
        The number of runs.
    """
    path, names = pathlib.Path(directory), list(made)
    steps_per_call = min(extent.steps_per_call, extent.num_steps)
    described: dict[str, dict[str, Any]] = {}
    for g, group in enumerate(groups):
        optimizee = made[group.optimizee]
        exported = _programs(g, group.members[0][1], optimizee, extent.widths, steps_per_call)
        bundle.begin(path)  # Where the first can be exported, so can the others.
        described.update(bundle.write_programs(path, exported))
    recipes = [_recipe(group, names.index(group.optimizee), seeds_of_runs) for group in groups]
    arrays = {**_first_params(made.values(), seeds_of_runs), **_weights(groups)}
    data_sets = {
        f"data_{i}": bundle.write_data(path, f"data_{i}", optimizee.dataset, extent.with_data)
        for i, optimizee in enumerate(made.values())
    }
    files.write_arrays(path / "initial.npz", arrays, compressed=True)
    content: dict[str, Any] = {
        "what": bundle.identity(kind, [recipes, data_sets], arrays),
        **about,
        "num_steps": extent.num_steps,
        "steps_per_call": steps_per_call,
        "widths": sorted(extent.widths),
        "data": data_sets,
        "programs": described,
        "groups": recipes,
    }
    bundle.finish(path, content, _MODULES)
    return sum(len(recipe["runs"]) for recipe in recipes)


def _programs(number, rule, optimizee, widths, steps_per_call) -> dict[str, programs.Program]:
    """The programs of a group by name."""
    params = optimizee.init(seeds.make_seed(0, "shapes"))
    exported = {f"init_{number}": programs.rule_init(rule, params)}
    images = carried.Images(
        tf.constant(optimizee.dataset.images), tf.constant(optimizee.dataset.labels)
    )
    for width in widths:
        lanes = trajectories.Trajectories(rule, optimizee, width, steps_per_call)
        exported[f"evaluate_{number}_{width}"] = programs.evaluate(lanes, images, rule.weights())
    return exported


def _first_params(made, seeds_of_runs) -> dict[str, np.ndarray]:
    """What trajectories start from, by the numbers of optimizee and tensor: [num_seeds, ...]."""
    arrays = {}
    for i, optimizee in enumerate(made):
        drawn = [
            optimizee.init(seeds.fold(seed, seeds.Stream.OPTIMIZEE))
            for seed in seeds_of_runs.values()
        ]
        for k, tensors in enumerate(zip(*drawn)):
            arrays[f"params/{i}/{k}"] = np.stack(tensors)
    return arrays


def _weights(groups: Sequence[Group]) -> dict[str, np.ndarray]:
    """The weights of all rules, by the numbers of group and member and their name."""
    return {
        f"weights/{g}/{m}/{key}": np.asarray(value)
        for g, group in enumerate(groups)
        for m, (_, rule) in enumerate(group.members)
        for key, value in rule.weights().items()
    }


def _recipe(group: Group, number: int, seeds_of_runs) -> dict[str, Any]:
    """What bundle.json says of a group: its data, first parameters and runs."""
    runs = [
        {
            "rule": label,
            "seed": number_of_seed,
            **group.described[m],
            "member": m,
            "params": p,
            "seed_of_trajectory": seed.numpy().tolist(),
            "seed_of_rule": unrolls.rule_seed(seed).numpy().tolist(),
        }
        for p, (number_of_seed, seed) in enumerate(seeds_of_runs.items())
        for m, (label, _) in enumerate(group.members)
    ]
    return {"data": f"data_{number}", "params": number, "runs": runs}


def read(
    directory: str, kind: str, parse: Callable[[dict[str, Any], dict[int, np.ndarray]], Any]
) -> Any:
    """Reads what `run_bundle.py` left.

    Args:
        directory: the folder that it wrote.
        kind: what the runs are for.
        parse: makes something of what is said of the runs, and of the losses of those that are
            done, by their number.

    Returns:
        What `parse` made.

    Raises:
        InputError: if there are no results, or they are of another version or kind.
    """
    path = pathlib.Path(directory) / _RESULTS
    arrays = files.read_arrays(path)
    try:
        about = json.loads(arrays.pop("about").tobytes())
        bundle.check_identity(about["what"], kind, str(path))
        parsed = parse(about, {int(name): losses for name, losses in arrays.items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, errors.InputError):
            raise
        raise errors.InputError(f"cannot read {path}: {error!r}") from error
    if not arrays:
        raise errors.InputError(
            f"{path} has no run that is done: go on with run_bundle.py --resume"
        )
    return parsed
