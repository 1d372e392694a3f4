"""Evaluation of learned rules beside Adam, in the loops of `python -m l2o_tf.evaluate`."""

import functools
from collections.abc import Sequence

from l2o_tf import optimizees, rules
from l2o_tf.benchmarks import measuring
from l2o_tf.core import seeds
from l2o_tf.evaluation import runner

OPTIMIZEE = "mlp"
RULES = ("dm", "rnnprop", "scale")
BASELINE = "adam"
_NUM_STEPS, _SHORT_NUM_STEPS = 1000, 100


def measure(repetitions: int, short: bool = False) -> list[measuring.Row]:
    """Measures each rule in turn, `repetitions` times.

    Returns:
        A row per rule with medians; its ratio is its CPU time over that of Adam.
    """
    num_steps = _SHORT_NUM_STEPS if short else _NUM_STEPS
    on = runner.Runner(optimizees.create(OPTIMIZEE, measuring.random_images()))
    seed = seeds.make_seed(0, "benchmark")
    created = {name: rules.create(name) for name in (BASELINE, *RULES)}
    for rule in created.values():
        on.run(rule, seed, num_steps)
    functions = {
        name: functools.partial(on.run, rule, seed, num_steps) for name, rule in created.items()
    }
    rows: list[measuring.Row] = [
        {"rule": name, "optimizee": OPTIMIZEE, **measured._asdict()}
        for name, measured in measuring.medians(functions, num_steps, repetitions).items()
    ]
    for row in rows:
        row["cpu_ratio"] = row["cpu_ms"] / rows[0]["cpu_ms"]
    return rows


def table(rows: Sequence[measuring.Row]) -> str:
    """The rows of `measure` as text."""
    header = ["rule", "optimizee", "steps/s", "CPU ms", "CPU ms / Adam's"]
    lines = [
        [
            row["rule"],
            row["optimizee"],
            f"{1000 / row['wall_ms']:.0f}",
            f"{row['cpu_ms']:.2f}",
            f"{row['cpu_ratio']:.1f}",
        ]
        for row in rows
    ]
    return measuring.aligned([header, *lines])
