"""Bundles: folders whose programs run wherever NumPy and JAX are; what all kinds share."""

import gzip
import importlib.resources
import json
import pathlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

import l2o_tf
from l2o_tf.core import errors, files
from l2o_tf.data import datasets
from l2o_tf.export import programs

FORMAT = 2
_MODULES = ("run_bundle.py", "program.py", "saving.py", "output.py")
_ABOUT = "bundle.json"


def begin(path: pathlib.Path) -> None:
    """Makes a bundle that is there an unfinished one, which does not run, until `finish`.

    Else a kill while it is replaced would leave new weights under the former description.

    Raises:
        InputError: if that cannot be done.
    """
    if files.exists(path / _ABOUT):
        files.remove(path / _ABOUT)


def write_programs(
    path: pathlib.Path, exported: Mapping[str, programs.Program]
) -> dict[str, dict[str, Any]]:
    """Writes programs by name; returns what bundle.json says of them."""
    described = {}
    for name, program in exported.items():
        file = f"{name}.mlir.gz"
        files.write_atomically(path / file, gzip.compress(program.text.encode(), mtime=0))
        described[name] = {"file": file, "inputs": program.inputs, "outputs": program.outputs}
    return described


def write_data(
    path: pathlib.Path, name: str, data: datasets.Dataset, with_images: bool = True
) -> dict[str, Any]:
    """Writes the images of a bundle; returns what bundle.json says of them."""
    file = f"{name}.npz"
    if with_images:
        arrays = {"images": data.images, "labels": data.labels}
        files.write_arrays(path / file, arrays, compressed=True)
    checksum = zlib.crc32(data.labels.tobytes(), zlib.crc32(data.images.tobytes()))
    return {"file": file, "scale": float(np.float32(data.scale)), "checksum": checksum}


def identity(kind: str, recipe: Any, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What results must have in common with the bundle that they are of.

    Args:
        kind: what the bundle does, such as "train".
        recipe: JSON values that say how.
        arrays: what it starts from.
    """
    checksum = zlib.crc32(json.dumps(recipe, sort_keys=True).encode())
    for name in sorted(arrays):
        checksum = zlib.crc32(arrays[name].tobytes(), checksum)
    return {
        "format": FORMAT,
        "kind": kind,
        "l2o_tf": l2o_tf.__version__,
        "tensorflow": tf.__version__,
        "checksum": checksum,
    }


def check_identity(what: Mapping[str, Any], kind: str, source: str | None) -> None:
    """Checks that results can be taken back.

    Args:
        what: the identity of the bundle that they are of.
        kind: what it should be a bundle of.
        source: where the results are.

    Raises:
        InputError: if they are of another version, or of another kind of bundle.
    """
    found = what["format"], what["l2o_tf"]
    if found != (FORMAT, l2o_tf.__version__):
        raise errors.InputError(
            f"{source} is of format {found[0]} and l2o_tf {found[1]}; this is "
            f"format {FORMAT} and l2o_tf {l2o_tf.__version__}"
        )
    if what["kind"] != kind:
        raise errors.InputError(f"{source} is of --what={what['kind']}, not {kind}")


def config_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a configuration from JSON, where tuples are lists."""
    return {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}


def finish(
    path: pathlib.Path,
    about: Mapping[str, Any],
    modules: Iterable[str],
    further: Sequence[str] = (),
    shared: Iterable[str] = _MODULES,
) -> None:
    """Writes the modules of a bundle, then bundle.json, with which it is complete.

    Args:
        path: the bundle.
        about: the contents of bundle.json.
        modules: those of the folder `bundled` that only this kind of bundle has.
        further: the paths of modules from elsewhere.
        shared: those of the folder `bundled` that all bundles have which run by themselves.
    """
    package = importlib.resources.files("l2o_tf.export") / "bundled"
    for name in (*shared, *modules):
        files.write_atomically(path / name, (package / name).read_bytes())
    for source in map(pathlib.Path, further):
        files.write_atomically(path / source.name, source.read_bytes())
    files.write_json(path / _ABOUT, dict(about))
