"""The files that a run of a bundle leaves behind: few of them, none half written."""

import csv
import io
import json
import pathlib
import zipfile

import numpy as np
import output
import saving
from lane import Lane, Row, Weights
from saving import Arrays

_SNAPSHOT = "snapshot_"
_MAX_ARCHIVES = 5


def write(
    directory: pathlib.Path, lanes: list[Lane], metas: dict[int, Arrays], about: dict
) -> None:
    """Writes the results of all lanes, then the checkpoint that goes on from them.

    A process that is killed in between leaves results that are later than the checkpoint. They have
    all that it needs, as snapshots and lines of metrics.csv are only ever added.

    Args:
        directory: where to.
        lanes: all lanes.
        metas: for each lane, what it trains on from, by name.
        about: the contents of bundle.json.

    Raises:
        InputError: as `saving.replace`.
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
    saving.save(directory / output.CHECKPOINT, arrays, state)


def _write_lane(archive: zipfile.ZipFile, lane: Lane, about: dict) -> None:
    folder = f"lane_{lane.index:03d}"
    text = io.StringIO()
    writer = csv.DictWriter(text, about["columns"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lane.rows)
    values = {"what": about["what"], "config": lane.recipe["config"], **lane.to_json()}
    archive.writestr(f"{folder}/metrics.csv", text.getvalue(), zipfile.ZIP_DEFLATED, 1)
    archive.writestr(f"{folder}/lane.json", json.dumps(values, indent=2))
    for epoch, weights in lane.snapshots.items():
        buffer = io.BytesIO()
        np.savez(buffer, **weights)
        archive.writestr(f"{folder}/{_SNAPSHOT}{epoch}.npz", buffer.getvalue())


def read(directory: pathlib.Path, lanes: list[Lane], what: dict) -> dict[int, Arrays]:
    """Puts all lanes where the checkpoint has them; returns what they train on from.

    Raises:
        InputError: if the checkpoint is of another bundle, the results are older than it is, or
            either is damaged.
    """
    arrays, state = saving.load(directory / output.CHECKPOINT)
    if state["what"] != what:
        raise output.InputError(f"{directory} holds the results of another bundle")
    found: dict[int, tuple[dict[int, Weights], list[Row]]] = {}
    for path in sorted(directory.glob("results_*.zip")):
        with output.reading(path), zipfile.ZipFile(path) as archive:
            for lane in lanes:
                if f"lane_{lane.index:03d}/lane.json" in archive.namelist():
                    found[lane.index] = read_lane(archive, lane.index)
    for lane in lanes:
        values = state["lanes"][lane.index]
        snapshots, rows = found.get(lane.index, ({}, []))
        if len(rows) < values["num_events"]:
            raise output.InputError(
                f"{directory} lacks results of lane {lane.index} that its {output.CHECKPOINT} goes "
                "on from: put all results_*.zip back"
            )
        lane.restore(values, snapshots, rows)
    metas: dict[int, Arrays] = {lane.index: {} for lane in lanes}
    for key, value in arrays.items():
        index, _, name = key.partition(":")
        metas[int(index)][name] = value
    return metas


def read_lane(archive: zipfile.ZipFile, index: int) -> tuple[dict[int, Weights], list[Row]]:
    """The snapshots by epoch and the lines of metrics.csv of one lane."""
    folder = f"lane_{index:03d}/"
    snapshots, start = {}, f"{folder}{_SNAPSHOT}"
    for name in archive.namelist():
        if name.startswith(start):
            with np.load(io.BytesIO(archive.read(name))) as file:
                weights = {key: file[key] for key in file.files}
            snapshots[int(name[len(start) : -len(".npz")])] = weights
    text = archive.read(f"{folder}metrics.csv").decode()
    return snapshots, list(csv.DictReader(io.StringIO(text)))
