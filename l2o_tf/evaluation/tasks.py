"""What rules are tuned for, selected on and evaluated on: optimizees on images, with options."""

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from l2o_tf import optimizees
from l2o_tf.core import flags
from l2o_tf.data import datasets
from l2o_tf.evaluation.config import SelectConfig


class Task(NamedTuple):
    """What is optimized, and for how long.

    Attributes:
        optimizee: its name, or its `optimizees.label` where tasks name files and results only.
        dataset: the name of its data set; empty where the loss needs no data.
        split: the images that it is trained on; empty as well.
        num_steps: optimizee steps per run.
        options: the optimizee's options as JSON; empty if there are none.
    """

    optimizee: str
    dataset: str
    split: str
    num_steps: int
    options: str = ""

    @property
    def title(self) -> str:
        """The optimizee, its data and its options, such as "mlp (mnist, test images)"."""
        data = f"{self.dataset}, {self.split} images" if self.dataset else ""
        about = ", ".join(filter(None, (data, self.options)))
        return f"{self.optimizee} ({about})" if about else self.optimizee

    def create(self, data: datasets.Dataset | None) -> optimizees.Optimizee:
        """The optimizee on its data."""
        return optimizees.create(self.optimizee, data, **json.loads(self.options or "{}"))


def options(named: Collection[str], given: str) -> dict[str, dict[str, Any]]:
    """The options of each of the optimizees that --optimizees names.

    Args:
        named: the names.
        given: the flag --optimizee_options.

    Raises:
        InputError: for an optimizee or an option that is unknown, or a value of the wrong type.
    """
    for name in named:
        optimizees.get(name)
    return optimizees.options(list(named), flags.json_object("optimizee_options", given))


def text_of(own: Mapping[str, Any]) -> str:
    """An optimizee's options as a task has them."""
    return json.dumps(own, sort_keys=True, separators=(",", ":")) if own else ""


def dataset_of(optimizee: str, given: str | None) -> str:
    """The data set of an optimizee: --dataset, or its own; empty where its loss needs no data."""
    default = optimizees.default_dataset(optimizee)
    return (given or default) if default else ""


def held_out(config: SelectConfig) -> dict[str, Task]:
    """What a selection measures on, by optimizee; for how long is decided rung by rung.

    Raises:
        InputError: as `options`, and for a data set that is unknown.
    """
    tasks = {}
    for name, own in options(config.optimizees, config.optimizee_options).items():
        dataset, split = dataset_of(name, config.dataset), ""
        if dataset:
            split = config.split or datasets.held_out_split(dataset, config.data_dir)
        tasks[name] = Task(name, dataset, split, 0, text_of(own))
    return tasks
