"""Random data sets of L2O-Scale's problems, and its epoch-wise batches.

Every function draws from a `numpy.random.RandomState` of its own. NumPy freezes that stream for
good, and it is the stream of the legacy code: one seed gives the data the legacy code made of it.
"""

from typing import NamedTuple

import numpy as np

from l2o_tf.core import errors

# NumPy integers have no room for one bit per axis of a larger hypercube.
_MAX_CUBE_AXES = 30


class Examples(NamedTuple):
    """A data set for supervised learning.

    Attributes:
        data: [num_examples, *shape], numbers of any type.
        labels: int32 [num_examples].
        scale: what `data` are multiplied by, 1/255 for images in bytes.
    """

    data: np.ndarray
    labels: np.ndarray
    scale: float = 1.0


def derive_seed(*parts: int) -> int:
    """Returns an independent seed in [0, 2^32) for each combination of non-negative integers."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def from_images(dataset) -> Examples:
    """Takes over a `l2o_tf.data.datasets.Dataset`: images uint8 [n, height, width, channels]."""
    return Examples(dataset.images, dataset.labels, dataset.scale)


def noisy_parity_class(
    num_examples: int,
    num_classes: int = 2,
    num_ids: int = 5,
    noise_probability: float = 0.25,
    seed: int = 0,
) -> Examples:
    """Sets of class ids whose label is their sum modulo the number of classes, mostly.

    Args:
        num_examples: the number of examples.
        num_classes: the number of labels, and of different ids.
        num_ids: the number of ids in an example.
        noise_probability: how often the label is one too high.
        seed: the seed of the data.

    Returns:
        Ids, float32 [num_examples, num_ids], and labels. Source: legacy `problems/datasets.py`.
    """
    rng = np.random.RandomState(seed)
    ids = rng.randint(0, num_classes, [num_examples, num_ids])
    noise = rng.binomial(1, noise_probability, [num_examples])
    return _examples(ids, (ids.sum(axis=1) + noise) % num_classes)


def random(
    num_features: int,
    num_examples: int,
    num_classes: int = 2,
    separation: float = 1.0,
    seed: int = 0,
) -> Examples:
    """Gaussian clusters, two a class, around different corners of a hypercube.

    Each cluster is N(0, 1) under a random linear map, and 1 % of the labels are drawn anew.
    Source: legacy `problems/datasets.py`, `random`; the data are those of scikit-learn's
    `make_classification` with informative features only.

    Args:
        num_features: the number of features, log2(2 * num_classes) at least.
        num_examples: the number of examples.
        num_classes: the number of classes.
        separation: half the length of an edge of the hypercube.
        seed: the seed of the data.

    Returns:
        Features, float32 [num_examples, num_features], and labels.

    Raises:
        InputError: if the hypercube has fewer corners than there are clusters.
    """
    num_clusters = 2 * num_classes
    if 2**num_features < num_clusters:
        raise errors.InputError(
            f"{num_features} features cannot hold {num_clusters} clusters; use fewer classes"
        )
    rng = np.random.RandomState(seed)
    corners = _distinct_corners(num_clusters, num_features, rng)
    centers = (2.0 * corners - 1.0) * separation
    data = rng.standard_normal((num_examples, num_features))
    sizes = np.full(num_clusters, num_examples // num_clusters)
    sizes[: num_examples % num_clusters] += 1
    cluster = np.repeat(np.arange(num_clusters), sizes)
    for k, center in enumerate(centers):
        mixing = 2 * rng.uniform(size=(num_features, num_features)) - 1
        data[cluster == k] = data[cluster == k] @ mixing + center
    labels = cluster % num_classes
    flipped = rng.uniform(size=num_examples) < 0.01
    labels[flipped] = rng.randint(num_classes, size=flipped.sum())
    # Two separate shuffles of positions, as a permutation would draw other random numbers.
    order, features = np.arange(num_examples), np.arange(num_features)
    rng.shuffle(order)
    rng.shuffle(features)
    return _examples(data[order][:, features], labels[order])


def random_binary(num_features: int, num_examples: int, seed: int = 0) -> Examples:
    """Independent fair bits, float32 [num_examples, num_features]; all labels are 0."""
    bits = np.random.RandomState(seed).randint(2, size=(num_examples, num_features))
    return _examples(bits, np.zeros(num_examples))


def random_symmetric(num_features: int, num_examples: int, seed: int = 0) -> Examples:
    """N(0, 1) vectors, then their negatives: float32 [num_examples, num_features]; labels are 0.

    Raises:
        InputError: if the number of examples is odd.
    """
    if num_examples % 2:
        raise errors.InputError(
            f"random_symmetric needs an even number of examples, got {num_examples}"
        )
    half = np.random.RandomState(seed).normal(size=(num_examples // 2, num_features))
    return _examples(np.concatenate([half, -half]), np.zeros(num_examples))


def random_mlp(
    num_features: int, num_examples: int, seed: int = 0, num_layers: int = 6, width: int = 20
) -> Examples:
    """N(0, 1) vectors, labelled by whether one unit of a random rectifier network is active.

    Returns:
        Features, float32 [num_examples, num_features], and labels 0 or 1. The weights of all
        layers are N(0, 2 / num_features). Source: legacy `problems/datasets.py`.
    """
    rng = np.random.RandomState(seed)
    data = rng.normal(size=(num_examples, num_features))
    gain = np.sqrt(2.0) / np.sqrt(num_features)
    units = data
    for _ in range(num_layers):
        weights = rng.normal(size=(units.shape[1], width)) * gain
        units = np.maximum(units @ weights, 0)
    return _examples(data, units[:, 0] > 0)


def _examples(data: np.ndarray, labels: np.ndarray) -> Examples:
    return Examples(data.astype(np.float32), labels.astype(np.int32))


def _distinct_corners(num_corners: int, num_axes: int, rng: np.random.RandomState) -> np.ndarray:
    """Draws different corners of the unit hypercube: [num_corners, num_axes] of 0 and 1."""
    if num_axes > _MAX_CUBE_AXES:
        free = rng.randint(2, size=(num_corners, num_axes - _MAX_CUBE_AXES))
        return np.hstack([free, _distinct_corners(num_corners, _MAX_CUBE_AXES, rng)])
    numbers = _distinct_integers(num_corners, 2**num_axes, rng)
    return numbers[:, None] >> np.arange(num_axes)[::-1] & 1


def _distinct_integers(count: int, bound: int, rng: np.random.RandomState) -> np.ndarray:
    """Draws `count` different integers below `bound` as scikit-learn does, to get its data."""
    if count == bound:
        return np.arange(bound)
    if count > 0.01 * bound:
        return rng.permutation(bound)[:count]
    chosen: list[int] = []
    while len(chosen) < count:
        number = rng.randint(bound)
        if number not in chosen:
            chosen.append(number)
    return np.array(chosen)
