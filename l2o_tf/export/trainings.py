"""Bundles of trainings: what trains rules wherever NumPy and JAX are, and what came of it."""

import io
import json
import math
import pathlib
import zipfile

import numpy as np
import tensorflow as tf

from l2o_tf import artifacts, optimizees
from l2o_tf.core import errors, files
from l2o_tf.data import datasets
from l2o_tf.export import bundle, carried, classifiers, lanes, programs
from l2o_tf.rules import mixture
from l2o_tf.run import build, config, metrics
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
    described = bundle.write_programs(path, exported)
    stacked = {n: tf.stack([rule.weights()[n] for rule in built]) for n in weights}
    initial = programs.initial(prepare(len(configs)), stacked)
    files.write_arrays(path / "initial.npz", initial, compressed=True)
    described_data = bundle.write_data(path, "data", data, with_data)
    recipes = [_recipe(c) for c in configs]
    about = {
        "what": bundle.identity("train", recipes, initial),
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


def take_back(results: str, directory: str) -> list[pathlib.Path]:
    """Writes a run directory for each lane whose results are in a folder.

    Args:
        results: the folder that `run_bundle.py` wrote.
        directory: where the run directories go, as lane_000, lane_001, ...

    Returns:
        The run directories.

    Raises:
        InputError: if there are no results, or they are of another version.
    """
    archives = files.matching(results, "results_*.zip")
    if not archives:
        raise errors.InputError(f"no results_*.zip in {results}: run run_bundle.py first")
    written = []
    for path in archives:
        try:
            with zipfile.ZipFile(path) as archive:
                names = sorted(n for n in archive.namelist() if n.endswith("/lane.json"))
                for name in names:
                    folder = name.partition("/")[0]
                    run = pathlib.Path(directory) / folder
                    _import_lane(archive, folder, run)
                    written.append(run)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            if isinstance(error, errors.InputError):
                raise
            raise errors.InputError(f"cannot read {path}: {error}") from error
    return sorted(written)


def _import_lane(archive: zipfile.ZipFile, folder: str, run: pathlib.Path) -> None:
    about = json.loads(archive.read(f"{folder}/lane.json"))
    bundle.check_identity(about["what"], "train", archive.filename)
    values = about["config"]
    run_config = config.TrainConfig(**bundle.config_values(values))
    rule = build.fresh_rule(run_config)
    files.write_json(run / "config.json", values)
    files.write_atomically(run / "metrics.csv", archive.read(f"{folder}/metrics.csv"))
    for name in archive.namelist():
        if name.startswith(f"{folder}/snapshot_"):
            epoch = int(name[len(f"{folder}/snapshot_") : -len(".npz")])
            files.write_atomically(run / "snapshots" / f"epoch_{epoch:06d}.npz", archive.read(name))
    last = max(map(int, about["cards"]), default=None)
    for stage, card in about["cards"].items():
        weights = _read(archive, f"{folder}/stage_{stage}.npz")
        card = {
            "training": values,
            **card,
            "chosen_because": (
                "lowest validation loss of its curriculum stage, the last that improved"
            ),
        }
        directories = [run / "stages" / f"stage_{stage}"] + [run] * (int(stage) == last)
        for directory in directories:
            artifacts.save_rule(directory, rule, weights, card)


def _read(archive: zipfile.ZipFile, name: str) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(archive.read(name)), allow_pickle=False) as file:
        return {key: file[key] for key in file.files}
