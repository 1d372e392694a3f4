"""Runs a bundle that `python -m l2o_tf.export` wrote: needs Python, NumPy and JAX only.

usage: python run_bundle.py --out=DIR [--seconds=N] [--resume=DIR] [--benchmark] [--tf32]

It trains all lanes of the bundle to the end of their schedules or for N seconds, whichever comes
first, and leaves results and a checkpoint in DIR; --resume goes on from those of an earlier call.
"""

import argparse
import gzip
import json
import os
import pathlib
import signal
import sys
import time

BEGAN = time.monotonic()
os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.92")
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import jax
import numpy as np
import results
from jax._src import compiler as jax_compiler
from jax.extend import backend as jax_backend
from jaxlib import xla_client
from lane import Lane
from training import Training

_SECONDS_BETWEEN_LINES, _SECONDS_BETWEEN_CHECKPOINTS = 10, 45
_SECONDS_TO_STOP = 12  # To fetch and write all results.


def say(text: str) -> None:
    """Prints a line with the seconds since the start."""
    print(f"{time.monotonic() - BEGAN:7.1f} s  {text}", flush=True)


class Program:
    """A StableHLO program on the first device."""

    def __init__(self, description: dict, exact: bool):
        """Compiles a program; `exact` forbids TensorFloat-32."""
        self.inputs = description["inputs"]
        text = gzip.decompress((HERE / description["file"]).read_bytes()).decode()
        if exact:
            text = text.replace("[DEFAULT, DEFAULT]", "[HIGHEST, HIGHEST]")
        backend = jax_backend.get_backend()
        devices = xla_client.DeviceList(tuple(jax.local_devices()[:1]))
        options = jax_compiler.get_compile_options(num_replicas=1, num_partitions=1)
        start = time.monotonic()
        self._executable = backend.compile_and_load(text, devices, options)
        say(f"compiled {description['file']} in {time.monotonic() - start:.1f} s")

    def __call__(self, arguments: list) -> list:
        """Starts the program on arrays of the device."""
        return self._executable.execute(arguments)


class Bundle:
    """What `bundle.json` describes.

    Attributes:
        about: the contents of `bundle.json`.
        data: the images, the labels and the scale, on the device.
    """

    def __init__(self, data: str | None, exact: bool):
        """Reads the bundle; its data from the file `data` if that is given."""
        self.about = json.loads((HERE / "bundle.json").read_text())
        self._exact = exact
        self._programs: dict[str, Program] = {}
        with np.load(data or HERE / "data.npz") as file:
            arrays = [file["images"], file["labels"], np.float32(self.about["scale"])]
        self.data = [jax.device_put(array) for array in arrays]

    def program(self, name: str) -> Program:
        """The program of a name, compiled at the first use."""
        if name not in self._programs:
            self._programs[name] = Program(self.about["programs"][name], self._exact)
        return self._programs[name]

    def lanes(self) -> tuple[list[Lane], dict[int, results.Arrays]]:
        """The lanes before training, and what they train on from."""
        with np.load(HERE / "initial.npz") as file:
            arrays = {name: file[name] for name in file.files}
        metas = {
            i: {name: value[i] for name, value in arrays.items()}
            for i in range(len(self.about["lanes"]))
        }
        lanes = []
        for i, recipe in enumerate(self.about["lanes"]):
            prefix = "average/"
            initial = {
                name[len(prefix) :]: value
                for name, value in metas[i].items()
                if name.startswith(prefix)
            }
            lanes.append(Lane(i, recipe, initial))
        return lanes, metas


def train(bundle: Bundle, options: argparse.Namespace) -> None:
    """Trains all lanes as far as the time allows."""
    lanes, metas = bundle.lanes()
    if options.resume:
        metas = results.read(pathlib.Path(options.resume), lanes, bundle.about["what"])
    if options.lanes is not None:
        chosen = {int(i) for i in options.lanes.split(",")}
    else:
        chosen = set(range(len(lanes)))
    training = Training(bundle, [lane for lane in lanes if lane.index in chosen], metas)
    stops: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stops.append(1))

    def write():
        training.save()
        results.write(pathlib.Path(options.out), lanes, metas, bundle.about["what"])

    saved = shown = time.monotonic()
    steps_shown, end = 0, BEGAN + options.seconds - _SECONDS_TO_STOP
    advances = 0
    while not (training.finished or stops or time.monotonic() > end):
        if advances == options.advances:
            break
        training.advance()
        advances += 1
        now = time.monotonic()
        if now - shown > _SECONDS_BETWEEN_LINES:
            done = training.num_steps
            say(f"{(done - steps_shown) / (now - shown):.0f} lane-steps/s  {_standing(lanes)}")
            shown, steps_shown = now, done
        if now - saved > _SECONDS_BETWEEN_CHECKPOINTS:
            write()
            saved = time.monotonic()
    write()
    say(f"{'all lanes are done' if training.finished else 'stopped'}  {_standing(lanes)}")


def _standing(lanes: list[Lane]) -> str:
    """Stage, epoch and best loss of all lanes."""
    return " ".join(
        f"{lane.index}:{'done' if lane.state.reason else f's{lane.state.stage}'}"
        f",{lane.state.epoch},{lane.state.best_loss:.3g}"
        for lane in lanes
    )


def benchmark(bundle: Bundle, seconds: float, names: list[str]) -> None:
    """Prints the steps per second of programs."""
    length = bundle.about["unroll_length"]
    for name in names:
        program = bundle.program(name)
        width = int(name.rpartition("_")[2])
        arguments = [_example(spec) for spec in program.inputs] + bundle.data
        outputs = program(arguments)
        jax.block_until_ready(outputs)
        start, calls = time.monotonic(), 0
        while calls < 3 or time.monotonic() - start < seconds:
            outputs = program(arguments)
            jax.block_until_ready(outputs[0])
            calls += 1
        taken = (time.monotonic() - start) / calls
        memory = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
        say(
            f"{name}: {1e3 * taken:.2f} ms per call, {width * length / taken:.0f} lane-steps/s, "
            f"peak memory {memory / 2**30:.2f} GiB"
        )


def _example(spec: dict) -> jax.Array:
    """An argument with which all lanes are active in the middle of an epoch."""
    value = np.zeros(spec["shape"], spec["dtype"])
    if spec["name"] == "control" and value.ndim == 2:
        value[:, 2:4] = 1
    return jax.device_put(value)


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", default="results", help="where results and checkpoint go")
    parser.add_argument("--resume", help="the folder of an earlier call's results")
    parser.add_argument("--seconds", type=float, default=1e9, help="when to have stopped")
    parser.add_argument("--advances", type=int, help="stop after so many unrolls and validations")
    parser.add_argument("--data", help="data.npz, if it is not in the bundle")
    parser.add_argument("--lanes", help="the numbers of the lanes to train; all by default")
    parser.add_argument("--benchmark", type=float, help="only measure, so many seconds each")
    parser.add_argument("--programs", help="what to measure, such as train_8; all by default")
    parser.add_argument("--tf32", action="store_true", help="allow TensorFloat-32")
    options = parser.parse_args()
    say(f"jax {jax.__version__} on {jax.local_devices()[0].device_kind}")
    bundle = Bundle(options.data, not options.tf32)
    if options.benchmark:
        names = options.programs.split(",") if options.programs else bundle.about["programs"]
        benchmark(bundle, options.benchmark, names)
    else:
        train(bundle, options)


if __name__ == "__main__":
    main()
