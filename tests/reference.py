"""Finds the reference numbers of the legacy code; tests that need absent ones are skipped."""

import functools
import os
import pathlib
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pytest

_BESIDE_THE_CHECKOUT = pathlib.Path(__file__).resolve().parents[2] / "shared"
ROOT = pathlib.Path(os.environ.get("L2O_TF_REFERENCE_DATA", _BESIDE_THE_CHECKOUT))


def path(relative: str) -> pathlib.Path:
    """The path of one reference file or folder; skips the calling test where it is absent."""
    found = ROOT / relative
    if not found.exists():
        pytest.skip(f"reference data {relative} not found; set L2O_TF_REFERENCE_DATA to its folder")
    return found


def arrays(relative: str) -> Mapping[str, np.ndarray]:
    """The arrays of one reference .npz file by name, to be read only."""
    return _arrays(path(relative))


@functools.lru_cache(maxsize=8)
def _arrays(found: pathlib.Path) -> Mapping[str, np.ndarray]:
    with np.load(found) as file:
        read = {name: file[name] for name in file.files}
    for array in read.values():
        array.setflags(write=False)
    return MappingProxyType(read)
