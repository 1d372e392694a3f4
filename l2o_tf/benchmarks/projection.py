"""What many workers would give, projected from what one machine was measured to do.

python -m l2o_tf.benchmarks.projection data/results/benchmark/benchmark.json

Each worker computes one trajectory per meta-step and then exchanges the meta-gradient by a ring of
2 (W - 1) messages of n / W floats. All wait for the slowest: the expected maximum of W times
that scatter by a share s of their mean is below 1 + s sqrt(2 ln W) means.
"""

import dataclasses
import json
import math
import pathlib
import sys
from typing import Any

WORKERS = (1, 2, 8, 32, 256)
UNROLL_LENGTH, FLOATS = 20, 10_000


@dataclasses.dataclass(frozen=True)
class Network:
    """Assumptions about what connects workers.

    Attributes:
        name: what to call it.
        latency: seconds per message, with TensorFlow's share.
        bandwidth: bytes per second.
        scatter: standard deviation of compute times over workers, as a share of the mean.
    """

    name: str
    latency: float
    bandwidth: float
    scatter: float


NETWORKS = (
    Network("one rack, 10 Gbit/s", 200e-6, 1.25e9, 0.03),
    Network("a cloud, 1 Gbit/s", 1e-3, 0.125e9, 0.10),
)


def exchange_seconds(num_workers: int, num_floats: int, network: Network) -> float:
    """Seconds for the mean of a vector over all workers, by a ring."""
    messages = 2 * (num_workers - 1)
    return messages * (network.latency + 4 * num_floats / num_workers / network.bandwidth)


def meta_step_seconds(compute: float, num_workers: int, num_floats: int, network: Network) -> float:
    """Seconds per meta-step of a training by workers that each take `compute` seconds alone."""
    slowest = 1 + network.scatter * math.sqrt(2 * math.log(num_workers))
    return compute * slowest + exchange_seconds(num_workers, num_floats, network)


def rows(compute: float, num_floats: int) -> list[dict[str, Any]]:
    """Trajectories per second and efficiency for each network and number of workers."""
    found = []
    for network in NETWORKS:
        for count in WORKERS:
            seconds = meta_step_seconds(compute, count, num_floats, network)
            found.append(
                {
                    "network": network.name,
                    "workers": count,
                    "exchange_ms": 1000 * exchange_seconds(count, num_floats, network),
                    "meta_step_ms": 1000 * seconds,
                    "speedup": count * compute / seconds,
                    "efficiency": compute / seconds,
                }
            )
    return found


def table(found: list[dict[str, Any]]) -> str:
    """The rows as a table of Markdown."""
    header = ["network", "workers", "exchange, ms", "meta-step, ms", "speed-up", "efficiency"]
    lines = [
        [
            row["network"],
            str(row["workers"]),
            f"{row['exchange_ms']:.1f}",
            f"{row['meta_step_ms']:.0f}",
            f"{row['speedup']:.1f}",
            f"{row['efficiency']:.0%}",
        ]
        for row in found
    ]
    cells = [header, ["---"] * len(header), *lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def main(path: str) -> None:
    """Prints the projection from the results of the table `meta_training` of the benchmark."""
    results = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    (row,) = [
        row
        for row in results["meta_training"]
        if (row["workload"], row["mode"]) == ("dm_mlp", "train")
    ]
    compute = UNROLL_LENGTH * row["fast_wall_ms"] / 1000
    sys.stdout.write(
        f"A projection: {1000 * compute:.0f} ms per meta-step of one worker, {FLOATS:,} floats\n\n"
        f"{table(rows(compute, FLOATS))}"
    )


if __name__ == "__main__":
    main(sys.argv[1])
