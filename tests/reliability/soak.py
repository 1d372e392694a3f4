"""Meta-trains very short epochs for a stated time and records how much memory the process takes.

    python -m tests.reliability.soak --minutes=60 --out=DIR [FLAGS OF l2o_tf.train]

leaves memory.csv (seconds, epochs, resident memory in MB) and memory.png in DIR, and ends with exit
code 1 if the memory grows by 5 MB an hour or more after the first tenth of the time. What is
trained is `python -m l2o_tf.train` in a process of its own, with all that it writes.
"""

import argparse
import csv
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import numpy as np
from matplotlib.figure import Figure

LIMIT = 5.0  # MB per hour.
FLAGS = (
    "--rule=rnnprop --optimizee=simple --num_steps=10 --unroll_length=5 --imitation_r=0.2 "
    "--period_epochs=100 --validation_epochs=2 --num_epochs=2000000 --checkpoint_seconds=5 "
    "--max_snapshots=20"
).split()
COLUMNS = ("seconds", "epochs", "rss_mb")


def main() -> int:
    """Runs the command; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=15, help="seconds between samples")
    parser.add_argument("--out", type=pathlib.Path, default="data/results/reliability")
    options, flags = parser.parse_known_args()
    samples = measure(options.minutes * 60, options.every, flags)
    options.out.mkdir(parents=True, exist_ok=True)
    with open(options.out / "memory.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((f"{s:.0f}", epochs, f"{rss:.3f}") for s, epochs, rss in samples)
    growth, start = slope(samples)
    text = (
        f"{samples[-1][1]:,} epochs in {samples[-1][0] / 60:.0f} minutes; after the first "
        f"{start / 60:.0f} the memory grew by {growth:.2f} MB an hour"
    )
    draw(samples, growth, start, text, options.out / "memory.png")
    print(text)
    return int(growth >= LIMIT)


def measure(seconds: float, every: float, flags: list[str]) -> list[tuple[float, int, float]]:
    """Samples of a training: seconds since its first epoch, epochs, MB of resident memory."""
    with tempfile.TemporaryDirectory() as folder:
        run = pathlib.Path(folder) / "run"
        command = [sys.executable, "-m", "l2o_tf.train", *FLAGS, *flags, f"--workdir={run}"]
        samples: list[tuple[float, int, float]] = []
        metrics, started, epochs, read = run / "metrics.csv", None, 0, 0
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                while process.poll() is None and (not samples or samples[-1][0] < seconds):
                    time.sleep(every)
                    if not metrics.exists():
                        continue
                    with open(metrics, "rb") as file:
                        file.seek(read)
                        new = file.read()
                    read += len(new)
                    epochs += sum(b"valid" not in line for line in new.splitlines())
                    if started is None:
                        started, epochs = time.monotonic(), 0
                    samples.append((time.monotonic() - started, epochs, resident(process.pid)))
            finally:
                process.terminate()  # Started in the background, a process is deaf to SIGINT.
                if process.wait() not in (0, 130):
                    raise SystemExit(f"the training ended with exit code {process.returncode}")
        return samples


def resident(process: int) -> float:
    """MB of memory that a process takes."""
    status = pathlib.Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


def slope(samples: list[tuple[float, int, float]]) -> tuple[float, float]:
    """The growth in MB per hour after the first tenth of the time, by least squares; its start."""
    seconds, _, memory = np.array(samples).T
    start = seconds[-1] / 10
    later = seconds >= start
    return float(np.polyfit(seconds[later] / 3600, memory[later], 1)[0]), float(start)


def draw(samples, growth: float, start: float, title: str, path: pathlib.Path) -> None:
    """Memory over time, with the line that was fitted."""
    seconds, _, memory = np.array(samples).T
    figure = Figure(figsize=(8, 4), layout="constrained")
    axis = figure.subplots()
    axis.plot(seconds / 60, memory, lw=1.2, label="resident memory")
    later = seconds[seconds >= start]
    fitted = np.mean(memory[seconds >= start]) + growth * (later - later.mean()) / 3600
    axis.plot(later / 60, fitted, "--", color="black", lw=1, label=f"{growth:.2f} MB an hour")
    axis.set(title=title, xlabel="minutes", ylabel="MB")
    axis.set_ylim(0, 1.2 * memory.max())
    axis.legend(loc="lower right")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    sys.exit(main())
