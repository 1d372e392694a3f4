"""What grouped convolutions would cost in lanes: `python -m tests.export.grouped_convolutions`.

`jax.vmap` makes a grouped convolution of one whose kernels are lanes. This prints the CPU time per
lane of a loss of Conv-MNIST's network and its gradients so, and with products of patches, which
are what exported programs have, on JAX's CPU.
"""

import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

LANES, REPETITIONS = 8, 9
SHAPES = ((3, 3, 1, 16), (5, 5, 16, 32), (512, 10))

Convolution = Callable[[jax.Array, jax.Array], jax.Array]


def convolution(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """XLA's own, which `jax.vmap` groups."""
    axes = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(images, kernel, (1, 1), "VALID", dimension_numbers=axes)


def product_of_patches(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """The same as a matrix product, which `jax.vmap` batches."""
    size = kernel.shape[0]
    height, width = (n - size + 1 for n in images.shape[1:3])
    parts = [images[:, i : i + height, j : j + width] for i in range(size) for j in range(size)]
    return jnp.concatenate(parts, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


def loss(convolve: Convolution, params, images, labels):
    """Convolutions with batch norm, rectified units and 2x2 pools, a dense layer, cross-entropy."""
    *kernels, dense = params
    x = images
    for kernel in kernels:
        x = convolve(x, kernel)
        x = (x - x.mean((0, 1, 2))) * jax.lax.rsqrt(x.var((0, 1, 2)) + 1e-3)
        window = (1, 2, 2, 1)
        x = jax.lax.reduce_window(jax.nn.relu(x), -jnp.inf, jax.lax.max, window, window, "VALID")
    logits = x.reshape(x.shape[0], -1) @ dense
    return jax.nn.logsumexp(logits, -1).mean() - (logits * labels).sum(-1).mean()


def cpu_ms(convolve: Convolution) -> float:
    """CPU milliseconds per lane, the median of several calls."""
    rng = np.random.default_rng(0)
    params = [jnp.asarray(0.1 * rng.normal(size=(LANES, *s)), jnp.float32) for s in SHAPES]
    images = jnp.asarray(rng.random((LANES, 128, 28, 28, 1)), jnp.float32)
    labels = jnp.asarray(np.eye(10)[rng.integers(10, size=(LANES, 128))], jnp.float32)

    def one(params, images, labels):
        return jax.value_and_grad(lambda p: loss(convolve, p, images, labels))(params)

    compiled = jax.jit(jax.vmap(one))
    jax.block_until_ready(compiled(params, images, labels))
    times = []
    for _ in range(REPETITIONS):
        start = time.process_time()
        jax.block_until_ready(compiled(params, images, labels))
        times.append(time.process_time() - start)
    return 1e3 * statistics.median(times) / LANES


if __name__ == "__main__":
    for function in (convolution, product_of_patches):
        print(f"{function.__name__}: {cpu_ms(function):.0f} CPU ms per lane")
