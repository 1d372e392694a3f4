"""StableHLO programs in JAX, by its public interface alone."""

import dataclasses
import gzip
import pathlib
from collections.abc import Callable, Sequence

import jax
import jax.export
import jax.numpy as jnp

try:
    from jax.extend.mlir.dialects import stablehlo

    serialize = stablehlo.serialize_portable_artifact_str
except (ImportError, AttributeError) as error:
    raise ImportError(
        f"JAX {jax.__version__} has no jax.extend.mlir.dialects.stablehlo, by which bundles "
        "read StableHLO; JAX 0.10.2 and 0.11.2 have it"
    ) from error


class Program:
    """A program of a bundle.

    Attributes:
        inputs: name, shape and dtype of each argument but the data.
        outputs: likewise what comes out.
    """

    def __init__(self, directory: pathlib.Path, description: dict, tf32: bool = False):
        """Reads a program.

        Args:
            directory: the bundle.
            description: what bundle.json says of it.
            tf32: whether matrix products may round their factors to TensorFloat-32, as GPUs do
                by default.
        """
        self.inputs, self.outputs = description["inputs"], description["outputs"]
        text = gzip.decompress((directory / description["file"]).read_bytes()).decode()
        if not tf32:
            text = text.replace("[DEFAULT, DEFAULT]", "[HIGHEST, HIGHEST]")
        self._text, self._compiled = text, None

    def __call__(self, arguments: Sequence[jax.Array]) -> list[jax.Array]:
        """Starts the program; it is compiled at the first call, for the shapes of all calls."""
        if not self.outputs:
            return []
        if self._compiled is None:
            self._compiled = jax.jit(self.function(arguments)).lower(*arguments).compile()
        return self._compiled(*arguments)

    def function(self, arguments: Sequence[jax.Array]) -> Callable[..., list[jax.Array]]:
        """The program as a function that JAX can compile and that may be part of others.

        Args:
            arguments: of the shapes and dtypes of its arguments.
        """
        outputs = [(spec["shape"], spec["dtype"]) for spec in self.outputs]

        def like(*_):
            return [jnp.zeros(shape, dtype) for shape, dtype in outputs]

        # A function with the right signature, whose body is then another.
        specs = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arguments]
        exported = jax.export.export(jax.jit(like, keep_unused=True))(*specs)
        body = serialize(self._text, stablehlo.get_current_version())
        return dataclasses.replace(exported, mlir_module_serialized=body).call
