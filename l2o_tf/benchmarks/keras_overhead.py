"""Where the time of an update goes in Keras, for 16 thousand parameters.

The same updates three times: by the optimizer, whose state is in variables; by the rule's compiled
step on plain tensors; and by a loop of steps inside one program, which is the rule's work alone.
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from l2o_tf import keras_optimizer, keras_step, rules
from l2o_tf.benchmarks import measuring
from l2o_tf.core import loops, seeds
from l2o_tf.rules.base import UpdateRule

_SHAPES = ([784, 20], [20], [20, 10], [10])  # Of the perceptron with 20 hidden units.
_NUM_STEPS = 50
RULES: dict[str, Callable[[], UpdateRule]] = {
    "adam:0.001": lambda: rules.from_spec("adam:0.001"),
    "dm": lambda: rules.create("dm"),
    "rnnprop": lambda: rules.create("rnnprop"),
    "mlp": lambda: rules.create("mlp", adam="vectors"),
}
PARTS = ("optimizer", "program", "loop")


def measure(repetitions: int, short: bool = False) -> list[measuring.Row]:
    """Measures each rule in turn.

    Returns:
        A row per rule with the CPU time and the time of each part.
    """
    num_steps = 1 if short else _NUM_STEPS
    functions: dict[str, Callable[[], None]] = {}
    for name, make in RULES.items():
        for part, function in _parts(make(), num_steps).items():
            function()  # XLA compiles in the first call.
            functions[f"{name} {part}"] = function
    medians = measuring.medians(functions, num_steps, repetitions)
    rows: list[measuring.Row] = []
    for name in RULES:
        row: measuring.Row = {"rule": name}
        for part in PARTS:
            found = medians[f"{name} {part}"]
            row |= {f"{part}_cpu_ms": found.cpu_ms, f"{part}_wall_ms": found.wall_ms}
        rows.append(row)
    return rows


def table(rows: Sequence[measuring.Row]) -> str:
    """The rows of `measure` as text."""
    header = ["rule", *(f"{part}, {time} ms" for part in PARTS for time in ("CPU", "wall"))]
    lines = [
        [row["rule"]]
        + [f"{row[f'{part}_{time}_ms']:.2f}" for part in PARTS for time in ("cpu", "wall")]
        for row in rows
    ]
    return measuring.aligned([header, *lines])


def _parts(rule: UpdateRule, num_steps: int) -> dict[str, Callable[[], None]]:
    """Functions that take `num_steps` steps with the same gradients."""
    random = np.random.default_rng(0)
    grads = [tf.constant(random.normal(size=shape), tf.float32) for shape in _SHAPES]
    variables = [keras.Variable(random.normal(size=s).astype("float32")) for s in _SHAPES]
    optimizer = keras_optimizer.LearnedOptimizer(rule)
    optimizer.build(variables)

    @loops.in_graph
    def update():
        optimizer.apply(grads, variables)

    params = [tf.convert_to_tensor(v) for v in variables]
    own = keras_step.RuleStep(rule, keras_step.Guard(optimizer.max_relative_update))
    shapes = [tf.TensorShape(shape) for shape in _SHAPES]
    seed, weights = seeds.make_seed(0, "benchmark"), rule.weights()
    state = own.init(shapes, tf.float32, seed, weights)

    def step(state):
        given = (True,) * len(grads)
        return own.step(grads, state, params, weights, tf.constant(1.0), given=given)

    def program():
        found = state
        for _ in range(num_steps):
            found = step(found).state

    compile_loop = loops.compiled if rule.learned else loops.in_graph

    @compile_loop
    def loop(state):
        def body(carry, t):
            updates, after, _ = step(carry[0])
            return (after, [s + u for s, u in zip(carry[1], updates)]), ()

        sums = [tf.zeros_like(p) for p in params]  # Else nothing would need the updates.
        return loops.scan(body, (state, sums), num_steps)[0]

    def repeat():
        for _ in range(num_steps):
            update()

    return {"optimizer": repeat, "program": program, "loop": lambda: loop(state)}
