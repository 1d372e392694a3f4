"""Trains the lanes of a bundle."""

import argparse
import pathlib

import output
import results
import saving
from lane import Lane
from training import Training


class Work:
    """All lanes, and the files that they leave."""

    def __init__(self, bundle, options: argparse.Namespace):
        """Starts, or goes on from the results of an earlier call.

        Raises:
            InputError: as `output.chosen` and `results.read`.
        """
        self._about, self._out = bundle.about, pathlib.Path(options.out)
        arrays = bundle.initial()
        self._metas = {
            i: {name: value[i] for name, value in arrays.items()}
            for i in range(len(self._about["lanes"]))
        }
        self._lanes = []
        for i, recipe in enumerate(self._about["lanes"]):
            self._lanes.append(Lane(i, recipe, saving.under(self._metas[i], "average/")))
        if options.resume:
            directory = pathlib.Path(options.resume)
            self._metas = results.read(directory, self._lanes, self._about["what"])
        chosen = output.chosen(options.lanes, len(self._lanes))
        lanes = [lane for lane in self._lanes if lane.index in chosen]
        self._training = Training(bundle, lanes, self._metas)

    @property
    def finished(self) -> bool:
        """Whether all lanes are done."""
        return self._training.finished

    @property
    def num_steps(self) -> int:
        """Optimizee steps of training of all lanes since the start of this process."""
        return self._training.num_steps

    def advance(self) -> None:
        """Validates the lanes that are due, or gives the device one more unroll."""
        self._training.advance()

    def write(self) -> None:
        """Writes the results, then the checkpoint that goes on from them.

        Raises:
            InputError: as `saving.replace`.
        """
        self._training.save()
        results.write(self._out, self._lanes, self._metas, self._about)

    def standing(self) -> str:
        """Stage, epoch and best loss of all lanes."""
        return " ".join(
            f"{lane.index}:{'done' if lane.state.reason else f's{lane.state.stage}'}"
            f",{lane.state.epoch},{lane.state.best_loss:.3g}"
            for lane in self._lanes
        )
