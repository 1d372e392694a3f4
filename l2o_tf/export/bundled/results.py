"""The files that a run of a bundle leaves behind: few of them, none half written."""

import csv
import io
import json
import pathlib
import zipfile

import numpy as np
import saving
from lane import Lane, Row
from saving import Arrays

CHECKPOINT = "checkpoint.npz"
_MAX_ARCHIVES = 5


def write(
    directory: pathlib.Path, lanes: list[Lane], metas: dict[int, Arrays], about: dict
) -> None:
    """Writes the results of all lanes, then the checkpoint that goes on from them.

    Args:
        directory: where to.
        lanes: all lanes.
        metas: for each lane, what it trains on from, by name.
        about: the contents of bundle.json.
    """
    count = min(_MAX_ARCHIVES, len(lanes))
    for i in range(count):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for lane in lanes[i::count]:
                _write_lane(archive, lane, about)
        saving.replace(directory / f"results_{i}.zip", buffer.getvalue())
    arrays = {
        f"{index}:{name}": value for index, meta in metas.items() for name, value in meta.items()
    }
    state = {"what": about["what"], "lanes": [lane.to_json() for lane in lanes]}
    saving.save(directory / CHECKPOINT, arrays, state)


def _write_lane(archive: zipfile.ZipFile, lane: Lane, about: dict) -> None:
    folder = f"lane_{lane.index:03d}"
    text = io.StringIO()
    writer = csv.DictWriter(text, about["columns"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lane.rows)
    values = {"what": about["what"], "config": lane.recipe["config"], **lane.to_json()}
    archive.writestr(f"{folder}/metrics.csv", text.getvalue(), zipfile.ZIP_DEFLATED, 1)
    archive.writestr(f"{folder}/lane.json", json.dumps(values, indent=2))
    for name, weights in lane.arrays().items():
        buffer = io.BytesIO()
        np.savez(buffer, **weights)
        archive.writestr(f"{folder}/{name}.npz", buffer.getvalue())


def read(directory: pathlib.Path, lanes: list[Lane], what: dict) -> dict[int, Arrays]:
    """Puts all lanes where the checkpoint has them; returns what they train on from.

    Raises:
        SystemExit: if the checkpoint is of another bundle.
    """
    arrays, state = saving.load(directory / CHECKPOINT)
    if state["what"] != what:
        raise SystemExit(f"error: {directory} holds the results of another bundle")
    for path in sorted(directory.glob("results_*.zip")):
        with zipfile.ZipFile(path) as archive:
            for lane in lanes:
                if f"lane_{lane.index:03d}/lane.json" in archive.namelist():
                    lane.restore(state["lanes"][lane.index], *read_lane(archive, lane.index))
    metas: dict[int, Arrays] = {lane.index: {} for lane in lanes}
    for key, value in arrays.items():
        index, _, name = key.partition(":")
        metas[int(index)][name] = value
    return metas


def read_lane(archive: zipfile.ZipFile, index: int) -> tuple[dict[str, Arrays], list[Row]]:
    """The arrays and the lines of metrics.csv of one lane."""
    folder = f"lane_{index:03d}/"
    arrays = {}
    for name in archive.namelist():
        if name.startswith(folder) and name.endswith(".npz"):
            with np.load(io.BytesIO(archive.read(name))) as file:
                arrays[name[len(folder) : -4]] = {key: file[key] for key in file.files}
    text = archive.read(f"{folder}metrics.csv").decode()
    return arrays, list(csv.DictReader(io.StringIO(text)))
