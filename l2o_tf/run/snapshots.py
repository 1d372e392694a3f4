"""The weights that a run validated, kept so that `python -m l2o_tf.select` can choose among them.

    snapshots/epoch_*.npz    arrays by the names of the rule's weights, like rule.npz

What is kept follows from the number of the epoch alone, so that a resumed run keeps the same.
"""

import os
import pathlib
import re

import numpy as np

from l2o_tf.core import files
from l2o_tf.training import curriculum, trainer

DIRECTORY = "snapshots"
_NAME = re.compile(r"epoch_\d+", re.ASCII)
# After the others training has restored the best weights, which were kept when they were validated.
_KEEPING = (curriculum.Decision.KEEP, curriculum.Decision.CONTINUE, curriculum.Decision.STOP)


def save(
    run: str | os.PathLike, event: trainer.ValidationDone, period_epochs: int, max_snapshots: int
) -> None:
    """Keeps the weights that a period's validation measured.

    Beyond `max_snapshots` every second one is dropped, again and again, so that the rest are
    evenly spaced; the last one always stays.

    Args:
        run: the run's directory.
        event: the validation.
        period_epochs: epochs between validations.
        max_snapshots: how many to keep; 0 for none.

    Raises:
        InputError: if the directory cannot be written.
    """
    if event.decision not in _KEEPING or not max_snapshots:
        return
    epoch, directory = event.progress.schedule.epoch, pathlib.Path(run) / DIRECTORY
    arrays = {name: np.asarray(value) for name, value in event.progress.validated.items()}
    files.write_arrays(path_of(directory, epoch), arrays)
    spacing = _spacing(epoch, period_epochs, max_snapshots)
    for path in find(directory):
        if epoch_of(path) < epoch and epoch_of(path) % spacing:
            files.remove(path)


def path_of(directory: pathlib.Path, epoch: int) -> pathlib.Path:
    """The snapshot of an epoch in a directory of snapshots."""
    return directory / f"epoch_{epoch:06d}.npz"


def find(directory: str | os.PathLike) -> list[pathlib.Path]:
    """The snapshots in a directory, by epoch; files with other names are somebody else's."""
    found = files.matching(directory, "epoch_*.npz")
    return sorted((path for path in found if _NAME.fullmatch(path.stem)), key=epoch_of)


def epoch_of(path: pathlib.Path) -> int:
    """The epoch after which a snapshot that `find` returned was validated, from its name."""
    return int(path.stem.removeprefix("epoch_"))


def _spacing(epoch: int, period_epochs: int, max_snapshots: int) -> int:
    """Epochs between two of the snapshots that are kept of the first `epoch` ones."""
    spacing = period_epochs
    while epoch // spacing + (epoch % spacing > 0) > max_snapshots:
        spacing *= 2
    return spacing
