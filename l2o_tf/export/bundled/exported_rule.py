"""A rule as a function of JAX: needs Python, NumPy and JAX only.

    import exported_rule                    # from the folder that `python -m l2o_tf.export` wrote

    rule = exported_rule.Rule()
    state = rule.init()
    updates, state = rule.update(grads, state, params)
    params = [p + u for p, u in zip(params, updates)]

`params` and `grads` are lists of arrays of the shapes that the rule was exported for. Both
functions may be called inside of `jax.jit`.
"""

import json
import pathlib
import sys
from collections.abc import Sequence

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import jax
import numpy as np
from program import Program

State = dict[str, jax.Array]


class Rule:
    """An update rule: `params + updates` are the next parameters.

    Attributes:
        shapes: of the parameters.
        weights: the meta-parameters by name, which may be set to others of the same shapes.
    """

    def __init__(self, directory: str | pathlib.Path = HERE, tf32: bool = False):
        """Reads a rule.

        Args:
            directory: the folder that it was exported to.
            tf32: whether matrix products may round their factors to TensorFloat-32.
        """
        directory = pathlib.Path(directory)
        about = json.loads((directory / "bundle.json").read_text())
        with np.load(directory / "weights.npz") as file:
            self.weights = {name: file[name] for name in file.files}
        self.shapes = [tuple(shape) for shape in about["shapes"]]
        described = about["programs"]
        self._init = Program(directory, described["init"], tf32)
        self._update = Program(directory, described["update"], tf32)

    def init(self, seed: Sequence[int] | jax.Array = (0, 0)) -> State:
        """The state before the first step, by name.

        Args:
            seed: int32 [2], for rules with a random initial state.
        """
        given = {**self._weights(), "seed": np.asarray(seed, np.int32)}
        return self._call(self._init, given)

    def update(
        self, grads: Sequence[jax.Array], state: State, params: Sequence[jax.Array]
    ) -> tuple[list[jax.Array], State]:
        """Computes one step.

        Args:
            grads: the gradients of the loss at `params`.
            state: the state before the step.
            params: the parameters before the step.

        Returns:
            The updates, shaped like `params`, and the state after the step.

        Raises:
            ValueError: if gradients or parameters are not of the shapes of the export.
        """
        for name, arrays in (("grads", grads), ("params", params)):
            shapes = [tuple(np.shape(x)) for x in arrays]
            if shapes != self.shapes:
                raise ValueError(f"{name} have shapes {shapes}; the rule is for {self.shapes}")
        given = {**self._weights(), **state, **_listed("grads", grads), **_listed("params", params)}
        after = self._call(self._update, given)
        return [after.pop(f"updates/{i}") for i in range(len(self.shapes))], after

    def _weights(self) -> State:
        return {f"weights/{name}": value for name, value in self.weights.items()}

    def _call(self, program: Program, given: State) -> State:
        arguments = [given[spec["name"]] for spec in program.inputs]
        if any(isinstance(x, jax.core.Tracer) for x in arguments):
            outputs = program.function(arguments)(*arguments)
        else:
            outputs = program([jax.device_put(x) for x in arguments])
        return {spec["name"]: x for spec, x in zip(program.outputs, outputs)}


def _listed(name: str, arrays: Sequence[jax.Array]) -> State:
    return {f"{name}/{i}": x for i, x in enumerate(arrays)}
