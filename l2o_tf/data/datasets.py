"""Image classification data sets, held in memory as uint8.

All come from TensorFlow Datasets (TFDS), but for `digits`, which is embedded in the package: the
1,797 handwritten digits of 8x8 pixels that scikit-learn ships, which are the test half of
"Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak (1998), UCI Machine
Learning Repository, licence CC BY 4.0 (see the README beside this file).
"""

import contextlib
import dataclasses
import http.client
import importlib.resources
import logging
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from l2o_tf.core import errors

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

SPLITS = ("train", "validation", "test")
SPLIT_FORMS = f"{', '.join(SPLITS)}, or examples of one, such as train[:10000]"
_PARTS_OF_MNIST = {"train": "train[5000:]", "validation": "train[:5000]"}
_NUM_DIGITS_TRAIN = 1437  # 80 % of 1,797.
_PROBE_SECONDS = 5.0
_ADVICE = (
    "point --data_dir or TFDS_DATA_DIR to a folder of prepared TensorFlow Datasets, "
    "or use the embedded --dataset=digits"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """One split of an image classification data set.

    Attributes:
        name: the name that it was loaded by.
        split: what `parse_split` takes.
        images: uint8 pixels [num_examples, height, width, channels].
        labels: int32 class numbers [num_examples], from 0.
        num_classes: the number of classes.
        scale: what to multiply pixels by to get numbers in [0, 1].
    """

    name: str
    split: str
    images: np.ndarray
    labels: np.ndarray
    num_classes: int
    scale: float

    def __post_init__(self):
        """Raises InputError for labels outside of the classes: training would end in NaN."""
        outside = self.labels[(self.labels < 0) | (self.labels >= self.num_classes)]
        if len(outside) or not len(self.labels):
            what = f"has labels such as {outside[0]}" if len(outside) else "has no examples"
            raise errors.InputError(
                f"the {self.split} split of data set {self.name!r} {what}, not classes from 0 to "
                f"{self.num_classes - 1}; choose another --dataset or --split"
            )

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape (height, width, channels) of one image."""
        return self.images.shape[1:]


def load(name: str, split: str = "train", data_dir: str | None = None) -> Dataset:
    """Loads one split of a data set, downloading it through TFDS where it is not prepared yet.

    The "train" split of `mnist` is the last 55,000 of its 60,000 training examples, because the
    legacy code leaves out the first 5,000, which are "validation" as in TF1. TFDS stores the
    examples in an order that differs from the original files', so these are not the same 55,000
    images as there. Of every other data set "train" is the whole training split. The first 1,437
    of the `digits` are "train", the other 360 "test".

    Args:
        name: "digits" or the name of a TFDS image classification data set, such as "mnist",
            "cifar10" or "emnist/letters".
        split: one of `SPLITS` or, as in TFDS, examples of one, such as "train[:10000]"; few data
            sets beside `mnist` have a "validation".
        data_dir: the folder of prepared TFDS data sets; by default the environment variable
            TFDS_DATA_DIR or else TFDS's own default in the home directory. `digits` needs none.

    Raises:
        InputError: if the data set, the split or its examples do not exist, if it is not images of
            one size with a class each, or if it is neither prepared nor can be downloaded.
    """
    part, examples = parse_split(split)
    if name == "digits":
        _check_split(name, part, ("train", "test"))
        whole = _load_digits(part)
    else:
        whole = _load_tfds(name, part, data_dir)
    return whole if split == part else _take(whole, split, examples)


def parse_split(text: str) -> tuple[str, slice]:
    """The split and its examples that a text such as "test" or "train[:10000]" names.

    Args:
        text: one of `SPLITS`, all of it or, as in TFDS, [START:END] of it, in examples.

    Raises:
        InputError: if it is neither.
    """
    found = re.fullmatch(rf"({'|'.join(SPLITS)})(?:\[(\d{{,9}}):(\d{{,9}})\])?", text, re.ASCII)
    if not found:
        raise errors.InputError(f"unknown split {text!r}; use one of: {SPLIT_FORMS}")
    part, *bounds = found.groups()
    return part, slice(*(int(bound) if bound else None for bound in bounds))


def _take(whole: Dataset, split: str, examples: slice) -> Dataset:
    count = len(whole.labels)
    if max(examples.start or 0, examples.stop or 0) > count:
        raise errors.InputError(
            f"the {whole.split} split of data set {whole.name!r} has {count} examples, "
            f"too few for {split}"
        )
    # Copies, because views would keep all images in memory.
    images, labels = whole.images[examples].copy(), whole.labels[examples].copy()
    return dataclasses.replace(whole, split=split, images=images, labels=labels)


def held_out_split(name: str, data_dir: str | None = None) -> str:
    """The images to choose between rules on: "validation" where a data set has it, else "train".

    Args:
        name: the name of a data set, as for `load`.
        data_dir: as for `load`.

    Raises:
        InputError: if there is no such data set.
    """
    if name == "digits":
        return "train"
    builder, _ = _builder(name, data_dir)
    return "validation" if "validation" in _splits(builder) else "train"


def _load_digits(split: str) -> Dataset:
    part = slice(_NUM_DIGITS_TRAIN) if split == "train" else slice(_NUM_DIGITS_TRAIN, None)
    source = importlib.resources.files("l2o_tf.data").joinpath("digits.npz")
    with source.open("rb") as stream, np.load(stream) as arrays:
        images, labels = arrays["images"][part], arrays["labels"][part]
    return Dataset("digits", split, images, labels.astype(np.int32), num_classes=10, scale=1 / 16)


def _check_split(name: str, split: str, existing: Iterable[str]) -> None:
    if split not in existing:
        raise errors.InputError(
            f"data set {name!r} has no {split} split, only: {', '.join(existing)}; "
            "choose another --dataset or --split"
        )


def _load_tfds(name: str, split: str, data_dir: str | None) -> Dataset:
    builder, features = _builder(name, data_dir)
    with _as_input_error(_unavailable(name)), _without_warnings():
        is_prepared = builder.is_prepared()
    num_classes = _check_features(name, features)
    if not is_prepared:
        _prepare(name, builder)
    splits = _splits(builder)
    _check_split(name, split, splits)
    selected = splits[split]
    with _as_input_error(f"cannot read data set {name!r} in {builder.data_path}"):
        arrays = builder.as_dataset(split=selected, batch_size=-1)
        images, labels = arrays["image"].numpy(), arrays["label"].numpy()
    return Dataset(name, split, images, labels.astype(np.int32), num_classes, scale=1 / 255)


def _unavailable(name: str) -> str:
    return f"data set {name!r} is not available from TensorFlow Datasets"


def _builder(name: str, data_dir: str | None) -> tuple["tfds.core.DatasetBuilder", dict[str, Any]]:
    """A data set of TFDS and its features by name; raises InputError if there is no such set."""
    with _as_input_error(_unavailable(name)):
        import tensorflow_datasets as tfds  # Here, because it is slow and `digits` needs none.

        # TFDS itself reads the variable only once, when it is imported.
        data_dir = data_dir or os.environ.get("TFDS_DATA_DIR")
        builder = tfds.builder(name, data_dir=data_dir)
        features = builder.info.features
        features = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    return builder, features


def _splits(builder: "tfds.core.DatasetBuilder") -> dict[str, str]:
    """What TFDS calls the splits of a data set."""
    parts = _PARTS_OF_MNIST if builder.name == "mnist" else {}
    return {**{name: name for name in builder.info.splits}, **parts}


def _check_features(name: str, features: Mapping[str, Any]) -> int:
    """Returns the number of classes, or raises InputError if it is not image classification."""
    import tensorflow_datasets as tfds

    image, label = features.get("image"), features.get("label")
    if not (
        isinstance(image, tfds.features.Image)
        and None not in image.shape
        and image.np_dtype == np.uint8
        and isinstance(label, tfds.features.ClassLabel)
    ):
        raise errors.InputError(
            f"data set {name!r} cannot be used: it needs a uint8 `image` of one fixed shape and a "
            "class `label`; choose another --dataset, such as mnist, cifar10 or digits"
        )
    return label.num_classes


def _prepare(name: str, builder: "tfds.core.DatasetBuilder") -> None:
    """Downloads a data set and writes it in TFDS's format, or raises InputError."""
    with _as_input_error(
        f"data set {name!r} is not in {builder.data_path}, and preparing it failed"
    ):
        for url in list(builder.url_infos)[:1]:
            _probe(url)
        builder.download_and_prepare()


def _probe(url: str) -> None:
    """Raises an error if `url` cannot be reached at all.

    TFDS would retry for minutes, with a warning for each try, before it gives up.
    """
    request = urllib.request.Request(url, method="HEAD")
    # A new opener, because the global one keeps the proxy settings of its first use.
    try:
        urllib.request.build_opener().open(request, timeout=_PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        pass  # An answer all the same; some servers refuse HEAD.
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ConnectionError(f"{request.host} cannot be reached ({reason})") from error


@contextlib.contextmanager
def _as_input_error(what: str) -> Iterator[None]:
    """Turns whatever is raised inside into an InputError of one line.

    TFDS documents no error types: a wrong name alone can be a ValueError, an AssertionError or an
    ImportError, with a message of hundreds of lines.
    """
    try:
        yield
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise errors.InputError(f"{what}: {reason.rstrip('.')}; {_ADVICE}") from None


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Silences TFDS's warning about each data set that is not prepared yet."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
