"""Trains lanes: every call of the program is one unroll of each lane that has one to do."""

import time

import curriculum
import jax
import numpy as np
import saving
from lane import Lane, Unroll
from saving import Arrays

_LAST = {"meta": "boundary/0", "average": "boundary/1"}  # Where a state before an epoch is.
_SECONDS_IN_FLIGHT = 1.0  # Of work that the device is given ahead.
_VALIDATIONS = (curriculum.Phase.VALIDATION, curriculum.Phase.BASELINE)


class Training:
    """Lanes in the slots of a program.

    Attributes:
        num_steps: optimizee steps of training of all lanes since the start of this process.
    """

    def __init__(self, bundle, lanes: list[Lane], metas: dict[int, Arrays]):
        """Takes what is to be trained.

        Args:
            bundle: the programs and the data.
            lanes: the lanes to train.
            metas: what each trains on from, by name; kept up to date by `save`.
        """
        self._bundle, self._lanes, self._metas = bundle, lanes, metas
        self._widths = sorted(bundle.about["widths"])
        self._length = bundle.about["unroll_length"]
        self._slots: list[Lane | None] = []
        self._carry: dict[str, jax.Array] = {}
        self._names: list[str] = []
        self._small: list[str] = []
        self._calls: list[list[tuple[int, Lane, Unroll]]] = []  # Since the last fetch began.
        self._fetched: tuple | None = None
        self._limit, self._began = 1, time.monotonic()
        self.num_steps = 0
        self._seat()

    @property
    def finished(self) -> bool:
        """Whether all lanes are done."""
        return not self._unfinished()

    def _unfinished(self) -> list[Lane]:
        return [lane for lane in self._lanes if lane.phase is not curriculum.Phase.FINISHED]

    def advance(self) -> None:
        """Validates the lanes that are due, or gives the device one more unroll."""
        due = [
            lane
            for lane in self._slots
            if lane is not None and not lane.inside_epoch and lane.phase in _VALIDATIONS
        ]
        if due:
            self._validate(due)
            return
        leaving = self._is_badly_seated()
        ready = [
            (slot, lane)
            for slot, lane in enumerate(self._slots)
            if lane is not None and lane.trains and (lane.inside_epoch or not leaving)
        ]
        if ready:
            self._call(ready)
        else:
            self.save()
            self._seat()

    # Slots.

    def _is_badly_seated(self) -> bool:
        """Whether lanes wait for slots that are free, or a narrower program would do."""
        unfinished = len(self._unfinished())
        seated = sum(lane in self._slots for lane in self._unfinished())
        width = len(self._slots)
        return unfinished > 0 and (
            seated < min(unfinished, width) or self._width(unfinished) < width
        )

    def _width(self, count: int) -> int:
        return next((w for w in self._widths if w >= count), self._widths[-1])

    def _seat(self) -> None:
        """Gives the unfinished lanes slots, from what was saved."""
        lanes: list[Lane | None] = list(self._unfinished())
        if not lanes:
            return
        width = self._width(len(lanes))
        self._slots = (lanes + [None] * width)[:width]
        self._program = self._bundle.program(f"train_{width}")
        inputs = self._program.inputs
        self._names = [
            spec["name"] for spec in inputs if spec["name"] not in ("control", "average")
        ]
        self._small = [n for n in self._names if n.startswith(("meta/", "average/"))]
        filler = next(lane for lane in self._slots if lane is not None)
        values = {
            name: np.stack([self._metas[(lane or filler).index][name] for lane in self._slots])
            for name in self._small
        }
        for spec in inputs:
            name = spec["name"]
            value = values.get(name)
            self._carry[name] = jax.device_put(
                np.zeros(spec["shape"], spec["dtype"]) if value is None else value
            )
        factors = [(lane or filler).average_factors for lane in self._slots]
        self._average = jax.device_put(np.array(factors, np.float32))

    def save(self) -> None:
        """Brings `metas` up to date: lanes inside an epoch would begin it again."""
        self._flush()
        small = self._fetch(self._small)
        last = self._fetch([_boundary(name) for name in self._small])
        for slot, lane in enumerate(self._slots):
            if lane is not None:
                self._metas[lane.index] = {
                    name: (last[_boundary(name)] if lane.inside_epoch else small[name])[slot]
                    for name in self._small
                }

    def _fetch(self, names: list[str]) -> Arrays:
        for name in names:
            self._carry[name].copy_to_host_async()
        return {name: np.asarray(self._carry[name]) for name in names}

    # Training.

    def _call(self, ready: list[tuple[int, Lane]]) -> None:
        control = np.zeros([len(self._slots), 7], np.int32)
        control[:, 6] = len(self._calls)
        unrolls = []
        for slot, lane in ready:
            unroll = lane.next_unroll()
            control[slot, :6] = (*unroll.seed, unroll.number, 1, unroll.imitates, unroll.ends)
            unrolls.append((slot, lane, unroll))
        arguments = [self._carry[name] for name in self._names]
        outputs = self._program(
            [*arguments, jax.device_put(control), self._average, *self._bundle.data["data"]]
        )
        self._carry.update(zip(self._names, outputs))
        self._calls.append(unrolls)
        self.num_steps += len(ready) * self._length
        if len(self._calls) >= self._limit:
            self._begin_fetch()

    def _begin_fetch(self) -> None:
        """Starts to fetch the log of the last calls, and takes that of the calls before."""
        log, calls = self._carry["log"], self._calls
        log.copy_to_host_async()
        self._calls, fetched, self._fetched = [], self._fetched, (log, calls)
        if fetched is None:
            return
        self._record(*fetched)
        now = time.monotonic()
        seconds = max((now - self._began) / len(calls), 1e-4)
        self._limit = max(1, min(int(_SECONDS_IN_FLIGHT / seconds), log.shape[0], 2 * self._limit))
        self._began = now

    def _flush(self) -> None:
        if self._calls:
            self._begin_fetch()
        if self._fetched is not None:
            self._record(*self._fetched)
            self._fetched = None

    def _record(self, log: jax.Array, calls: list) -> None:
        numbers = np.asarray(log)
        for row, unrolls in zip(numbers, calls):
            for slot, lane, unroll in unrolls:
                lane.record(unroll, *row[:, slot])

    # Validation.

    def _validate(self, lanes: list[Lane]) -> None:
        self._flush()
        small = self._fetch(self._small)
        small = {name: value.copy() for name, value in small.items()}
        scores: dict[int, list[float]] = {lane.index: [] for lane in lanes}
        jobs = [(lane, seed) for lane in lanes for seed in lane.validation_seeds()]
        jobs.sort(key=lambda job: job[0].validation_unrolls)
        width = self._bundle.about["validation_width"]
        for i in range(0, len(jobs), width):
            self._run_jobs(jobs[i : i + width], small, scores)
        for lane in lanes:
            slot = self._slots.index(lane)
            weights = _part(small, "average/", slot)
            restored = lane.validated(
                np.array(scores[lane.index], np.float32), weights, int(small["meta/skipped"][slot])
            )
            for name, value in (restored or {}).items():
                small[f"average/{name}"][slot] = value
                small[f"meta/weights/{name}"][slot] = value
        for name, value in small.items():
            self._carry[name] = jax.device_put(value)
        self._began = time.monotonic()

    def _run_jobs(self, jobs, small: Arrays, scores: dict[int, list[float]]) -> None:
        """Runs as many trajectories of validation as there are slots for them."""
        width = self._bundle.about["validation_width"]
        program = self._bundle.program(f"validate_{width}")
        filled = (jobs + [jobs[0]] * width)[:width]
        slots = [self._slots.index(lane) for lane, _ in filled]
        seeds = np.array([seed for _, seed in filled], np.int32)
        fixed, trajectory, names = {}, {}, []
        for spec in program.inputs:
            name = spec["name"]
            names.append(name)
            if name.startswith("weights/"):
                value = small["average/" + name[len("weights/") :]][slots]
                fixed[name] = jax.device_put(value)
            elif name.startswith("slots/"):
                trajectory[name] = jax.device_put(np.zeros(spec["shape"], spec["dtype"]))
        losses = []
        for k in range(max(lane.validation_unrolls for lane, _ in jobs)):
            fixed["control"] = jax.device_put(
                np.concatenate([seeds, np.full([width, 1], k, np.int32)], axis=1)
            )
            arguments = [{**fixed, **trajectory}[name] for name in names]
            *moved, loss = program([*arguments, *self._bundle.data["data"]])
            trajectory = dict(zip(trajectory, moved))
            losses.append(loss)
        for i, (lane, _) in enumerate(jobs):
            scores[lane.index].append(np.asarray(losses[lane.validation_unrolls - 1])[i])


def _boundary(name: str) -> str:
    first, _, rest = name.partition("/")
    return f"{_LAST[first]}/{rest}"


def _part(arrays: Arrays, prefix: str, slot: int) -> Arrays:
    return {name: value[slot] for name, value in saving.under(arrays, prefix).items()}
