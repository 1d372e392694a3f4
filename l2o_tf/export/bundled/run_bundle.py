"""Runs a bundle that `python -m l2o_tf.export` wrote: needs Python, NumPy and JAX only.

usage: python run_bundle.py --out=DIR [--seconds=N] [--resume=DIR] [--data=DIR] [--benchmark=N]
           [--tf32]

It does all that the bundle has, or works for N seconds, whichever comes first, and leaves results
and a checkpoint in DIR; --resume goes on from those of an earlier call. Only the call that goes on
from them writes over results that DIR holds. --data has the images of a bundle without any.
"""

import argparse
import importlib
import json
import os
import pathlib
import signal
import sys
import time
import zlib

BEGAN = time.monotonic()
os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.92")
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import jax
import numpy as np
import output
from saving import Arrays

try:
    from program import Program
except ImportError as error:
    raise SystemExit(f"error: {error}") from error

# The module of each kind of bundle.
_WORK = {"train": "trainings", "evaluate": "evaluating", "select": "evaluating"}
_SECONDS_BETWEEN_LINES, _SECONDS_BETWEEN_CHECKPOINTS = 10, 45
_SECONDS_TO_STOP = 12  # To fetch and write all results.


def say(text: str) -> None:
    """Prints a line with the seconds since the start."""
    print(f"{time.monotonic() - BEGAN:7.1f} s  {text}", flush=True)


class Bundle:
    """What `bundle.json` describes.

    Attributes:
        about: the contents of `bundle.json`.
        data: images, labels and the scale of pixels, on the device, by the name of the data.
    """

    def __init__(self, data: str | None, tf32: bool):
        """Reads the bundle; its images from the folder `data` if that is given.

        Raises:
            InputError: if the bundle is not complete, or images are not there, cannot be read, or
                are not those that were exported.
        """
        path = HERE / "bundle.json"
        with output.reading(path, "export the bundle again"):
            self.about = json.loads(path.read_text())
        self._tf32, folder = tf32, pathlib.Path(data) if data else HERE
        self._programs: dict[str, Program] = {}
        # All at once: wrong ones are to be seen before the first run, not after it.
        self.data = {
            name: _images(folder, described) for name, described in self.about["data"].items()
        }

    def program(self, name: str) -> Program:
        """The program of a name."""
        if name not in self._programs:
            self._programs[name] = Program(HERE, self.about["programs"][name], self._tf32)
        return self._programs[name]

    def data_of(self, program: str) -> list[jax.Array]:
        """Images, labels and scale of pixels that a program is given; none where it takes none."""
        kind, *rest = program.split("_")
        if kind == "init":
            return []
        group = self.about["groups"][int(rest[0])] if kind == "evaluate" else {}
        return self.data[group.get("data", "data")]

    def initial(self) -> Arrays:
        """What all begins with."""
        with np.load(HERE / "initial.npz") as file:
            return {name: file[name] for name in file.files}


def _images(folder: pathlib.Path, described: dict) -> list[jax.Array]:
    """Images, labels and the scale of pixels, on the device; raises as `Bundle`."""
    path = folder / described["file"]
    remedy = (
        "give the folder that has the images, --data=DIR, or export the bundle without --nodata"
    )
    if not path.is_file():
        raise output.InputError(f"{folder} has no {described['file']}: {remedy}")
    with output.reading(path, "export the bundle again"), np.load(path) as file:
        images, labels = file["images"], file["labels"]
    checksum = zlib.crc32(labels.tobytes(), zlib.crc32(images.tobytes()))
    if checksum != described.get("checksum", checksum):
        raise output.InputError(
            f"{path} has other images than those that the bundle is for: {remedy}"
        )
    arrays = (images, labels, np.float32(described["scale"]))
    return [jax.device_put(array) for array in arrays]


def work(bundle: Bundle, options: argparse.Namespace) -> None:
    """Does what the bundle has, as far as the time allows.

    Raises:
        InputError: if the folder of the results, or that to go on from, cannot be used, or results
            cannot be written.
    """
    module = importlib.import_module(_WORK[bundle.about["what"]["kind"]])
    resumed = pathlib.Path(options.resume) if options.resume else None
    with output.held(pathlib.Path(options.out), resumed):
        _do(module.Work(bundle, options), options)


def _do(doing, options: argparse.Namespace) -> None:
    stops: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stops.append(1))
    saved = shown = time.monotonic()
    steps_shown, end = 0, BEGAN + options.seconds - _SECONDS_TO_STOP
    advances = 0
    while not (doing.finished or stops or time.monotonic() > end):
        if advances == options.advances:
            break
        doing.advance()
        advances += 1
        now = time.monotonic()
        if now - shown > _SECONDS_BETWEEN_LINES:
            rate = (doing.num_steps - steps_shown) / (now - shown)
            say(f"{rate:.0f} lane-steps/s  {doing.standing()}")
            shown, steps_shown = now, doing.num_steps
        if now - saved > _SECONDS_BETWEEN_CHECKPOINTS:
            doing.write()
            saved = time.monotonic()
    doing.write()
    say(f"{'all is done' if doing.finished else 'stopped'}  {doing.standing()}")


def benchmark(bundle: Bundle, seconds: float, names: list[str]) -> None:
    """Prints the steps per second of programs."""
    length = bundle.about["steps_per_call"]
    for name in names:
        program = bundle.program(name)
        width = int(name.rpartition("_")[2])
        arguments = [_example(spec) for spec in program.inputs] + bundle.data_of(name)
        outputs = program(arguments)
        jax.block_until_ready(outputs)
        start, busy, calls = time.monotonic(), time.process_time(), 0
        while calls < 3 or time.monotonic() - start < seconds:
            outputs = program(arguments)
            jax.block_until_ready(outputs[0])
            calls += 1
        taken = (time.monotonic() - start) / calls
        busy = (time.process_time() - busy) / calls
        memory = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
        say(
            f"{name}: {1e3 * taken:.2f} ms per call, {width * length / taken:.0f} lane-steps/s, "
            f"{1e3 * busy / (width * length):.2f} CPU ms per lane-step, "
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
    parser.add_argument("--advances", type=int, help="stop after so many calls of programs")
    parser.add_argument("--data", help="the folder of the images, if the bundle has none")
    parser.add_argument("--lanes", help="the numbers of the lanes or runs to do; all by default")
    parser.add_argument("--benchmark", type=float, help="only measure, so many seconds each")
    parser.add_argument("--programs", help="what to measure, such as train_8; all by default")
    parser.add_argument("--tf32", action="store_true", help="allow TensorFloat-32")
    options = parser.parse_args()
    try:
        _run(options)
    except output.InputError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)


def _run(options: argparse.Namespace) -> None:
    say(f"jax {jax.__version__} on {jax.local_devices()[0].device_kind}")
    bundle = Bundle(options.data, options.tf32)
    if options.benchmark:
        benchmark(bundle, options.benchmark, _chosen(options.programs, bundle))
    else:
        work(bundle, options)


def _chosen(programs: str | None, bundle: Bundle) -> list[str]:
    """The programs that --programs names, or all that take steps."""
    known = [name for name in bundle.about["programs"] if not name.startswith("init_")]
    names = programs.split(",") if programs else known
    for name in names:
        if name not in known:
            raise output.InputError(
                f"--programs={programs} must be some of {','.join(known)}: {name!r} is none"
            )
    return names


if __name__ == "__main__":
    main()
