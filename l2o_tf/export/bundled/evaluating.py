"""Runs rules on optimizees: every call of a program is some steps of a piece of the runs."""

import argparse
import json
import pathlib

import jax
import numpy as np
import output
import saving

_RESULTS = "evaluation.npz"
_IN_FLIGHT = 2  # Calls that the device is given ahead.


class Work:
    """The runs of an evaluation, in pieces that a program runs at once.

    Attributes:
        num_steps: optimizee steps of all runs since the start of this process.
    """

    def __init__(self, bundle, options: argparse.Namespace):
        """Starts, or goes on from the results of an earlier call.

        Raises:
            InputError: as `output.chosen`, and if they are of another bundle or damaged.
        """
        self._bundle, about = bundle, bundle.about
        self._length, self._total = about["steps_per_call"], about["num_steps"]
        self._runs = [
            {"group": g, **run} for g, group in enumerate(about["groups"]) for run in group["runs"]
        ]
        self._out = pathlib.Path(options.out)
        self._initial = bundle.initial()
        self._done: dict[int, np.ndarray] = {}
        self._piece: list[int] = []
        self.num_steps = 0
        self._chosen = set(output.chosen(options.lanes, len(self._runs)))
        if options.resume:
            self._resume(pathlib.Path(options.resume))

    @property
    def finished(self) -> bool:
        """Whether all runs are done."""
        return self._chosen <= self._done.keys()

    def standing(self) -> str:
        """How far the runs are, in a few words."""
        now = ""
        if self._piece:
            group = self._runs[self._piece[0]]["group"]
            now = f", group {group} at step {self._step} of {self._total}"
        return f"{len(self._done)} of {len(self._runs)} runs are done{now}"

    def advance(self) -> None:
        """Gives the device some more steps."""
        if not self._piece:
            self._begin()
        arguments = [self._carry[name] for name in self._names]
        *moved, losses = self._program([*arguments, *self._data])
        self._carry.update(zip(self._moving, moved))
        self._losses.append(losses)
        if len(self._losses) > _IN_FLIGHT:
            self._losses[-1 - _IN_FLIGHT].block_until_ready()
        self._step += self._length
        self._carry["first_step"] = np.int32(self._step)
        self.num_steps += len(self._piece) * self._length
        if self._step >= self._total:
            self._end()

    def _begin(self) -> None:
        """Takes up runs of one group."""
        left = sorted(self._chosen - self._done.keys())
        group = self._runs[left[0]]["group"]
        left = [i for i in left if self._runs[i]["group"] == group]
        widths = self._bundle.about["widths"]
        width = next((w for w in widths if w >= len(left)), widths[-1])
        self._seat(left[:width], width)
        first = [self._first(i) for i in self._slots(width)]
        for name in self._moving:
            self._carry[name] = jax.device_put(np.stack([one[name] for one in first]))
        self._step, self._losses = 0, []
        self._carry["first_step"] = np.int32(0)

    def _seat(self, piece: list[int], width: int) -> None:
        """Gives runs the lanes of a program of some width."""
        self._piece, self._width = piece, width
        group = self._runs[piece[0]]["group"]
        self._program = self._bundle.program(f"evaluate_{group}_{width}")
        self._data = self._bundle.data[self._bundle.about["groups"][group]["data"]]
        self._names = [spec["name"] for spec in self._program.inputs]
        self._moving = [
            name for name in self._names if name.partition("/")[0] in ("params", "rule_state")
        ]
        runs = [self._runs[i] for i in self._slots(width)]
        seeds = np.array([run["seed_of_trajectory"] for run in runs], np.int32)
        self._carry = {"seed": jax.device_put(seeds)}
        for name in self._names:
            if name.startswith("weights/"):
                value = np.stack([self._weights(run)[name] for run in runs])
                self._carry[name] = jax.device_put(value)

    def _slots(self, width: int) -> list[int]:
        """The run of each lane; lanes without one repeat the first."""
        return (self._piece + self._piece[:1] * width)[:width]

    def _weights(self, run: dict) -> saving.Arrays:
        own = saving.under(self._initial, f"weights/{run['group']}/{run['member']}/")
        return {f"weights/{name}": value for name, value in own.items()}

    def _first(self, index: int) -> saving.Arrays:
        """Where a run starts: drawn parameters, and what the rule's `init` returns."""
        run = self._runs[index]
        group = self._bundle.about["groups"][run["group"]]
        drawn = saving.under(self._initial, f"params/{group['params']}/")
        params = {f"params/{name}": value[run["params"]] for name, value in drawn.items()}
        program = self._bundle.program(f"init_{run['group']}")
        given = {**self._weights(run), "seed": np.array(run["seed_of_rule"], np.int32)}
        outputs = program([jax.device_put(given[spec["name"]]) for spec in program.inputs])
        names = [f"rule_{spec['name']}" for spec in program.outputs]
        return params | {name: np.asarray(x) for name, x in zip(names, outputs)}

    def _end(self) -> None:
        losses = np.concatenate([np.asarray(part) for part in self._losses])[: self._total]
        for lane, index in enumerate(self._piece):
            self._done[index] = losses[:, lane].copy()
        self._piece = []

    # Files.

    def write(self) -> None:
        """Writes the runs that are done, then the checkpoint that goes on from them.

        Raises:
            InputError: as `saving.replace`.
        """
        about = self._bundle.about
        kept = {name: about[name] for name in ("what", "flags", "fingerprints")}
        losses = {str(i): value for i, value in self._done.items()}
        saving.save(self._out / _RESULTS, losses, {**kept, "runs": self._runs})
        arrays, state = {}, {"what": about["what"], "piece": self._piece}
        if self._piece:
            state |= {"width": self._width, "step": self._step}
            arrays = {name: np.asarray(self._carry[name]) for name in self._moving}
            arrays["losses"] = np.concatenate([np.asarray(part) for part in self._losses])
        saving.save(self._out / output.CHECKPOINT, arrays, state)

    def _resume(self, directory: pathlib.Path) -> None:
        losses, results = saving.load(directory / _RESULTS)
        arrays, state = saving.load(directory / output.CHECKPOINT)
        if {json.dumps(part["what"]) for part in (results, state)} != {
            json.dumps(self._bundle.about["what"])
        }:
            raise output.InputError(f"{directory} holds the results of another bundle")
        self._done = {int(name): value for name, value in losses.items()}
        # Results are written first: they may have the piece that the checkpoint goes on with.
        if state["piece"] and not set(state["piece"]) <= self._done.keys():
            self._seat(state["piece"], state["width"])
            self._step, self._losses = state["step"], [jax.device_put(arrays.pop("losses"))]
            self._carry.update({name: jax.device_put(value) for name, value in arrays.items()})
            self._carry["first_step"] = np.int32(self._step)
