"""The directory of a report's trainings: one small file each, so that none is made twice."""

import os
import pathlib
import urllib.parse
from typing import Any, NamedTuple

from l2o_tf.core import errors, files
from l2o_tf.keras_evaluation.training import Run


class Key(NamedTuple):
    """Which training: the task's and the optimizer's label, and the seed."""

    task: str
    optimizer: str
    seed: int


class Store:
    """Trainings on disk.

    Attributes:
        directory: the folder of the files.
    """

    def __init__(self, directory: str | os.PathLike):
        self.directory = pathlib.Path(directory)

    def read(self, key: Key, identity: dict[str, Any]) -> Run | None:
        """What a training gave; None where it is yet to be made.

        Args:
            key: which training.
            identity: what must be the same for it to be the same training.

        Raises:
            InputError: if the file is damaged, or that of another training of the same name, or
                of a version that stored less of what must be the same.
        """
        path = self.path(key)
        if not files.exists(path):
            return None
        content = files.read_json_object(path)
        try:
            found = Run(**content["run"])
            losses = [float(loss) for loss in found.losses]
            # So that what is damaged is found here.
            numbers = float(found.bytes_per_parameter), float(found.cpu_ms), float(found.wall_ms)
            known = content["identity"]
        except (KeyError, TypeError, ValueError):
            raise errors.InputError(f"{path} is damaged: delete it to train again") from None
        for name, value in identity.items():
            if not isinstance(known, dict) or known.get(name) != value:
                raise errors.InputError(_difference(path, name, known))
        parameters, cpu, wall = numbers
        return found._replace(
            losses=losses, bytes_per_parameter=parameters, cpu_ms=cpu, wall_ms=wall
        )

    def write(self, key: Key, identity: dict[str, Any], run: Run) -> Run:
        """Stores what a training gave and returns it as stored: losses with five digits."""
        rounded = run._replace(losses=[float(f"{loss:.5g}") for loss in run.losses])
        content = {**key._asdict(), "identity": identity, "run": rounded._asdict()}
        files.write_json(self.path(key), content, indent=None)
        return rounded

    def path(self, key: Key) -> pathlib.Path:
        """The file of a training."""
        name = f"{key.task} {key.optimizer} {key.seed}"
        return self.directory / (urllib.parse.quote(name, safe=" ").replace(" ", "-") + ".json")


def _difference(path: pathlib.Path, name: str, known: Any) -> str:
    """What is wrong with a file that is not known to be of the same `name`, and what to do."""
    if name == "optimizer":
        remedy = "give the rule another name, label=RULE, or use another --workdir"
    else:
        remedy = "use another --workdir, or delete it to train again"
    if isinstance(known, dict) and name in known:
        return f"{path} is of another {name}: {remedy}"
    return f"{path} does not say of which {name} it is, as an older version wrote it: {remedy}"
