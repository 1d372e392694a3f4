"""Examples for Keras tasks: images of data sets, and what can be made or found offline."""

import functools
import importlib
from typing import TypeAlias

import numpy as np

from l2o_tf.core import errors
from l2o_tf.data import datasets

Examples: TypeAlias = tuple[np.ndarray, np.ndarray]
Splits: TypeAlias = tuple[Examples, Examples]  # To train on, and held out.

NUM_CHARACTERS = 96  # Printable ASCII and the end of a line.


@functools.cache
def images(name: str, num_train: int, num_validation: int, data_dir: str | None) -> Splits:
    """Images uint8 [N, height, width, channels] and labels int32 [N] of train and test split.

    Raises:
        InputError: if the data set is not there.
    """
    found = []
    for split, number in (("train", num_train), ("test", num_validation)):
        data = datasets.load(name, split, data_dir)
        found.append((data.images[:number], data.labels[:number]))
    return found[0], found[1]


def word_texts(num_train: int, num_validation: int, num_words: int, length: int) -> Splits:
    """Made-up texts int32 [N, length] of two classes, labels float32 [N].

    Words have Zipf's frequencies; of each pair of neighbours in the vocabulary one class prefers
    the first by 3 to 2, the other the second. Always the same texts.
    """
    rng = np.random.default_rng(0)
    frequencies = np.repeat(1 / np.arange(1, num_words // 2 + 1), 2)
    preferences = np.tile([[3.0, 2.0], [2.0, 3.0]], num_words // 2)
    cumulative = np.cumsum(preferences * frequencies, axis=1)
    cumulative /= cumulative[:, -1:]
    labels = rng.integers(0, 2, num_train + num_validation)
    draws = rng.random([len(labels), length])
    texts = np.stack([np.searchsorted(cumulative[k], d) for k, d in zip(labels, draws)])
    return _split(texts.astype(np.int32), labels.astype(np.float32), num_train)


@functools.cache
def characters(num_train: int, num_validation: int, length: int) -> Splits:
    """Windows int32 [N, length] of English text, and the same a character later.

    The text is Python's own documentation of its language, the module `pydoc_data.topics`, which
    differs a little between versions of Python; its last tenth is held out.

    Raises:
        InputError: if this Python comes without it.
    """
    try:
        topics = importlib.import_module("pydoc_data.topics").topics
    except ImportError:
        raise errors.InputError(
            "tasks on characters need Python's module pydoc_data, which this Python lacks: leave"
            " them out of --tasks"
        ) from None
    raw = "".join(topics[name] for name in sorted(topics)).encode("ascii", "ignore")
    codes = np.frombuffer(raw, np.uint8)
    codes = np.where(codes == ord("\n"), NUM_CHARACTERS - 1, codes.astype(np.int32) - 32)
    codes = codes[(codes >= 0) & (codes < NUM_CHARACTERS)].astype(np.int32)
    held_out = 9 * len(codes) // 10
    rng = np.random.default_rng(0)
    return (
        _windows(codes[:held_out], num_train, length, rng),
        _windows(codes[held_out:], num_validation, length, rng),
    )


def table(num_train: int, num_validation: int) -> Splits:
    """A made-up regression: features [N, 8], targets [N, 1] of variance 1.

    The target is J. Friedman's (1991) function of five of the features, which are uniform on
    [0, 1], with noise of a tenth of its standard deviation; features are standardised.
    """
    rng = np.random.default_rng(0)
    x = rng.random([num_train + num_validation, 8])
    y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2
    y += 10 * x[:, 3] + 5 * x[:, 4]
    y = (y - y.mean()) / y.std() + 0.1 * rng.normal(size=len(y))
    x = (x - 0.5) * np.sqrt(12)
    return _split(x.astype(np.float32), y[:, None].astype(np.float32), num_train)


def _windows(codes, number, length, rng) -> Examples:
    starts = rng.integers(0, len(codes) - length, number)
    windows = codes[starts[:, None] + np.arange(length + 1)]
    return windows[:, :-1], windows[:, 1:]


def _split(x, y, num_train) -> Splits:
    return (x[:num_train], y[:num_train]), (x[num_train:], y[num_train:])
