"""Bundles of trainings: what trains rules wherever NumPy and JAX are, and what came of it."""

import contextlib
import io
import json
import math
import pathlib
import re
import zipfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf import artifacts, optimizees
from l2o_tf.core import errors, files, flags
from l2o_tf.data import datasets
from l2o_tf.export import bundle, carried, classifiers, lanes, programs
from l2o_tf.rules import mixture
from l2o_tf.run import build, config, export, metrics, snapshots
from l2o_tf.training import curriculum, meta_optimizers

# What the lanes of a bundle share, and what each has for itself; nothing else may be set.
_SHARED = (
    "rule",
    "rule_options",
    "optimizee",
    "dataset",
    "batch_size",
    "unroll_length",
    "teachers",
    "teacher_weights",
    "shared_meta_optimizer",
    "random_scaling",
    "meta_optimizer",
    "meta_learning_rate",
    "l2_reg",
)
_OWN = (
    "seed",
    "num_epochs",
    "num_steps",
    "max_train_steps",
    "period_epochs",
    "validation_epochs",
    "curriculum",
    "curriculum_steps",
    "validation_steps",
    "min_periods",
    "imitation_r",
    "weight_average",
)
_MODULES = ("trainings.py", "training.py", "lane.py", "results.py", "philox.py")
_PRODUCTS_AT_ONCE = 128  # That keep a large GPU busy.
_LANE = re.compile(r"(lane_\d+)/lane\.json", re.ASCII)
_CONFIG, _METRICS = "config.json", "metrics.csv"


def check(configs: list[config.TrainConfig]) -> None:
    """Checks that runs can be the lanes of one bundle.

    Raises:
        InputError: if they cannot.
    """
    first, default = configs[0].identity(), config.TrainConfig().identity()
    for i, values in enumerate(c.identity() for c in configs):
        for name, value in values.items():
            if name in _SHARED and value != first[name]:
                raise errors.InputError(
                    f"all lanes must have the same --{name}; lane {i} has {value}, "
                    f"lane 0 {first[name]}"
                )
            if name not in (*_SHARED, *_OWN) and value != default[name]:
                raise errors.InputError(f"lane {i} has --{name}={value}; lanes cannot have it yet")
        if configs[i].strategy != "none":
            raise errors.InputError(
                f"lane {i} has --strategy={configs[i].strategy}; lanes share one device"
            )
    if len(configs[0].optimizee) > 1:
        raise errors.InputError("lanes need a single --optimizee")


def write(
    directory: str,
    configs: list[config.TrainConfig],
    widths: tuple[int, ...],
    validation_width: int,
    num_blocks: int = 0,
    with_data: bool = True,
) -> None:
    """Writes a bundle that trains lanes.

    Args:
        directory: where to.
        configs: the run of each lane.
        widths: how many lanes the programs train at once; the smallest that holds all lanes
            that are not done is used.
        validation_width: how many trajectories of validation run at once.
        num_blocks: the parts of a lane's coordinates; 0 for as many as keep a GPU busy.
        with_data: whether the images are part of the bundle.

    Raises:
        InputError: if the runs cannot be lanes, or the bundle cannot be written.
    """
    check(configs)
    shared = configs[0]
    built = [build.fresh_rule(c) for c in configs]
    optimizee = _optimizee(shared)
    data = optimizee.dataset  # Resized, where it needs another shape.
    images = carried.Images(tf.constant(data.images), tf.constant(data.labels))

    def prepare(width):
        return lanes.Programs(
            built[0],
            optimizee,
            meta_optimizers.create(shared.meta_optimizer, shared.meta_rate, shared.l2_reg),
            mixture.OneOf(build.teachers(shared), shared.teacher_weights),
            width,
            shared.unroll_length,
            num_blocks or max(1, math.ceil(_PRODUCTS_AT_ONCE / width)),
            shared.shared_meta_optimizer,
            shared.random_scaling,
        )

    path, weights = pathlib.Path(directory), built[0].weights()
    exported = {f"train_{w}": programs.train(prepare(w), images, weights) for w in widths}
    name = f"validate_{validation_width}"
    exported[name] = programs.validate(prepare(validation_width), images, weights)
    bundle.begin(path)
    described = bundle.write_programs(path, exported)
    stacked = {n: tf.stack([rule.weights()[n] for rule in built]) for n in weights}
    initial = programs.initial(prepare(len(configs)), stacked)
    files.write_arrays(path / "initial.npz", initial, compressed=True)
    described_data = bundle.write_data(path, "data", data, with_data)
    recipes = [_recipe(c) for c in configs]
    about = {
        "what": bundle.identity("train", [recipes, described_data], initial),
        "unroll_length": shared.unroll_length,
        "steps_per_call": shared.unroll_length,
        "columns": metrics.COLUMNS,
        "data": {"data": described_data},
        "widths": sorted(widths),
        "validation_width": validation_width,
        "programs": described,
        "lanes": recipes,
    }
    bundle.finish(path, about, _MODULES, [curriculum.__file__])


def _optimizee(shared: config.TrainConfig) -> classifiers.Classifier:
    """What all lanes are trained on, in a form that runs in lanes."""
    data = datasets.load(shared.dataset, "train", shared.data_dir)
    optimizee = optimizees.create(shared.optimizee[0], data, batch_size=shared.batch_size)
    if not optimizee.compiles:
        raise errors.InputError(
            f"--optimizee={shared.optimizee[0]} cannot be exported: XLA cannot compile it"
        )
    return classifiers.vectorizable(optimizee)


def _recipe(run_config: config.TrainConfig) -> dict:
    schedule = run_config.schedule()
    values = {name: getattr(schedule, name) for name in schedule.__dataclass_fields__}
    finite = {
        name: None if isinstance(value, float) and math.isinf(value) else value
        for name, value in values.items()
    }
    return {
        "config": run_config.identity(),
        "schedule": finite,
        "unroll_length": run_config.unroll_length,
        "imitation_r": run_config.imitation_r,
        "validation_epochs": run_config.validation_epochs,
        "weight_average": run_config.weight_average,
        "seed": run_config.seed,
    }


class _Lane(NamedTuple):
    """What an archive has of a lane.

    Attributes:
        archive: the path of the archive.
        folder: the lane's folder in it.
        about: what its lane.json says.
    """

    archive: pathlib.Path
    folder: str
    about: dict[str, Any]


def take_back(results: str | pathlib.Path, directory: str | pathlib.Path) -> list[pathlib.Path]:
    """Writes a run directory for each lane that has begun and whose results are in a folder.

    Args:
        results: the folder that `run_bundle.py` wrote.
        directory: where the run directories go, as lane_000, lane_001, ... Those that are there
            must be of the same runs; one that is further on than the results is left alone, so
            that lanes that were trained in several folders can be taken back one after another.

    Returns:
        The run directories that were written.

    Raises:
        InputError: if there are no results, or they are of another version or of several bundles,
            or a run directory holds something else, before anything is written; or if an archive
            is damaged.
    """
    archives = files.matching(results, "results_*.zip")
    if not archives:
        raise errors.InputError(f"no results_*.zip in {results}: run run_bundle.py first")
    lanes = [lane for path in archives for lane in _lanes(path)]
    if len({json.dumps(lane.about["what"], sort_keys=True) for lane in lanes}) > 1:
        raise errors.InputError(f"{results} has results of several bundles: keep those of one")
    begun = [lane for lane in lanes if lane.about["num_events"]]
    if not begun:
        raise errors.InputError(
            f"{results} has no lane with an epoch that is done: go on with run_bundle.py --resume"
        )
    wanted = {}
    for lane in begun:
        run = pathlib.Path(directory) / lane.folder
        with _reading(lane.archive):
            _check_run(run, lane.about["config"])
        if _num_events(run) <= lane.about["num_events"]:
            wanted[run] = lane
    for run, lane in wanted.items():
        with _reading(lane.archive), zipfile.ZipFile(lane.archive) as archive:
            _import_lane(archive, lane, run)
    return sorted(wanted)


@contextlib.contextmanager
def _reading(path: pathlib.Path) -> Iterator[None]:
    """Turns what damage to an archive surfaces as into an InputError."""
    try:
        yield
    except errors.InputError:
        raise
    except Exception as error:  # As of `files.reading_arrays`: any of a dozen types.
        raise errors.InputError(f"cannot read {path}: {errors.reason(error, True)}") from error


def _lanes(path: pathlib.Path) -> list[_Lane]:
    """The lanes of an archive."""
    lanes = []
    with _reading(path), zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if not name.endswith("lane.json"):
                continue
            match = _LANE.fullmatch(name)
            if not match:  # Names of folders become paths, which must not lead elsewhere.
                raise errors.InputError(f"{path} has {name!r}, which is in no folder of a lane")
            about = json.loads(archive.read(name))
            bundle.check_identity(about["what"], "train", str(path))
            if type(about["num_events"]) is not int:
                raise ValueError(f"{name} has no number of events")
            lanes.append(_Lane(path, match.group(1), about))
    return lanes


def _check_run(run: pathlib.Path, values: dict[str, Any]) -> None:
    """Checks that a run directory is new, empty or holds a run with the same config.json."""
    if files.exists(run / _CONFIG):
        recorded = files.read_json_object(run / _CONFIG)
        pairs = {name: (recorded.get(name), values.get(name)) for name in {*recorded, *values}}
        different = [
            f"{name} {flags.to_text(found) or 'none'}, not {flags.to_text(value) or 'none'}"
            for name, (found, value) in sorted(pairs.items())
            if found != value
        ]
        if different:
            raise errors.InputError(
                f"{run} holds another run, with {'; '.join(different)}: use another --out"
            )
    elif files.is_taken(run):
        raise errors.InputError(f"{run} exists and holds no run: use another --out")


def _num_events(run: pathlib.Path) -> int:
    """The events that a run directory has; its metrics.csv is written when all else is there."""
    path = run / _METRICS
    return max(0, len(files.read_bytes(path).splitlines()) - 1) if files.exists(path) else 0


def _import_lane(archive: zipfile.ZipFile, lane: _Lane, run: pathlib.Path) -> None:
    values, folder = lane.about["config"], lane.folder
    # All first, as nothing is written if one is damaged.
    members = {n: archive.read(n) for n in archive.namelist() if n.startswith(f"{folder}/")}
    rule = build.fresh_rule(config.TrainConfig(**bundle.config_values(values)))
    files.write_json(run / _CONFIG, values)
    for name, content in members.items():
        if name.startswith(f"{folder}/snapshot_"):
            epoch = int(name[len(f"{folder}/snapshot_") : -len(".npz")])
            path = snapshots.path_of(run / snapshots.DIRECTORY, epoch)
            files.write_atomically(path, content)
    cards = {int(stage): facts for stage, facts in lane.about["cards"].items()}
    for stage, facts in cards.items():
        # A validation that is kept leaves a snapshot too.
        weights = _read(members[f"{folder}/snapshot_{facts['epoch']}.npz"])
        directories = [export.stage_folder(run, stage)] + [run] * (stage == max(cards))
        for directory in directories:
            artifacts.save_rule(directory, rule, weights, export.card(values, facts))
    files.write_atomically(run / _METRICS, members[f"{folder}/{_METRICS}"])


def _read(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {key: file[key] for key in file.files}
