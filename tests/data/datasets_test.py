import collections
import importlib.util
import time
import zlib

import numpy as np
import pytest

from l2o_tf.core import errors
from l2o_tf.data import datasets
from tests import reference

WAYS_OUT = ("--data_dir", "TFDS_DATA_DIR", "--dataset=digits")


def load_prepared(name: str, split: str) -> datasets.Dataset:
    """Loads a TFDS data set that lies on this machine; skips the calling test where it does not."""
    import tensorflow_datasets as tfds

    if not tfds.builder(name).is_prepared():
        pytest.skip(f"TensorFlow data set {name} is not prepared here; set TFDS_DATA_DIR")
    return datasets.load(name, split)


def error_of(*args, **kwargs) -> str:
    """The message of the InputError that `load` raises; it must be one line."""
    with pytest.raises(errors.InputError) as caught:
        datasets.load(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def offline(monkeypatch):
    """No network, on any machine: all connections go to a proxy port where nothing listens."""
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory):
    """A data_dir with the prepared data set `tiny_images`: 5 images [2, 3, 1], all in train."""
    import tensorflow_datasets as tfds

    class TinyImages(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(2, 3, 1)),
                "label": tfds.features.ClassLabel(num_classes=7),
                "name": tfds.features.Text(),
            }
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for k in range(5):
                image = np.full([2, 3, 1], 50 * k, np.uint8)
                yield k, {"image": image, "label": k + 2, "name": str(k)}

    path = tmp_path_factory.mktemp("tfds")
    TinyImages(data_dir=path).download_and_prepare()
    return str(path)


def test_digits_are_the_1797_of_scikit_learn_in_order():
    train, test = datasets.load("digits"), datasets.load("digits", "test")
    images = np.concatenate([train.images, test.images])
    labels = np.concatenate([train.labels, test.labels])
    assert train.images.shape == (1437, 8, 8, 1) and test.images.shape == (360, 8, 8, 1)
    assert (images.dtype, labels.dtype) == (np.uint8, np.int32)
    assert zlib.crc32(images.tobytes()) == 4087501628
    assert zlib.crc32(labels.astype(np.uint8).tobytes()) == 4168075561
    np.testing.assert_array_equal(
        np.bincount(train.labels), [143, 146, 142, 146, 144, 145, 144, 143, 141, 143]
    )
    np.testing.assert_array_equal(
        np.bincount(test.labels), [35, 36, 35, 37, 37, 37, 37, 36, 33, 37]
    )


@pytest.mark.skipif(not importlib.util.find_spec("sklearn"), reason="scikit-learn is not installed")
def test_digits_equal_those_of_the_installed_scikit_learn():
    from sklearn.datasets import load_digits

    expected = load_digits()
    parts = [datasets.load("digits", split) for split in ("train", "test")]
    np.testing.assert_array_equal(
        np.concatenate([part.images for part in parts])[..., 0], expected.images
    )
    np.testing.assert_array_equal(np.concatenate([part.labels for part in parts]), expected.target)


def test_scale_maps_pixels_to_the_unit_interval():
    digits = datasets.load("digits")
    assert digits.image_shape == (8, 8, 1)
    assert digits.num_classes == 10
    assert digits.images.min() == 0 and digits.images.max() * digits.scale == 1.0


def test_tfds_examples_keep_image_and_label_together(tiny_dir):
    tiny = datasets.load("tiny_images", "train", tiny_dir)
    assert (tiny.images.dtype, tiny.labels.dtype) == (np.uint8, np.int32)
    assert tiny.image_shape == (2, 3, 1) and tiny.num_classes == 7
    assert sorted(tiny.labels) == [2, 3, 4, 5, 6]
    expected = np.broadcast_to(50 * (tiny.labels - 2)[:, None, None, None], [5, 2, 3, 1])
    np.testing.assert_array_equal(tiny.images, expected)
    assert 255 * tiny.scale == 1.0


def test_the_environment_variable_is_read_at_each_call(tiny_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", tiny_dir)
    assert len(datasets.load("tiny_images").labels) == 5


def test_data_dir_wins_over_the_environment_variable(tiny_dir, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert len(datasets.load("tiny_images", data_dir=tiny_dir).labels) == 5


def test_a_set_without_test_split_says_which_it_has(tiny_dir):
    message = error_of("tiny_images", "test", tiny_dir)
    assert "'tiny_images' has no test split, only: train" in message


def test_the_held_out_split_is_validation_where_there_is_one_and_never_test(tiny_dir):
    assert datasets.held_out_split("digits") == "train"
    assert datasets.held_out_split("tiny_images", tiny_dir) == "train"
    assert datasets.held_out_split("mnist") == "validation"  # It needs no prepared images.
    with pytest.raises(errors.InputError, match="'nothing' is not available"):
        datasets.held_out_split("nothing")


@pytest.mark.slow
def test_mnist_train_leaves_out_the_5000_original_images_of_validation():
    original = reference.arrays("data/mnist.npz")
    train, validation = (load_prepared("mnist", split) for split in ("train", "validation"))
    assert train.images.shape == (55000, 28, 28, 1)

    def count(images, labels):
        return collections.Counter((x.tobytes(), int(y)) for x, y in zip(images, labels))

    left_out = count(original["x_train"], original["y_train"])
    left_out.subtract(count(train.images, train.labels))
    assert min(left_out.values()) == 0
    assert +left_out == count(validation.images, validation.labels)
    assert len(validation.labels) == 5000


def test_mnist_test_is_the_original_test_set():
    original = reference.arrays("data/mnist.npz")
    test = load_prepared("mnist", "test")
    assert test.image_shape == (28, 28, 1) and test.num_classes == 10 and test.scale == 1 / 255

    def sort(images, labels):
        rows = np.concatenate([images.reshape([10000, 784]), labels[:, None]], axis=1)
        return sorted(map(bytes, rows.astype(np.uint8)))

    assert sort(test.images, test.labels) == sort(original["x_test"], original["y_test"])


def test_cifar10_test_has_a_thousand_images_of_each_class():
    test = load_prepared("cifar10", "test")
    assert test.images.shape == (10000, 32, 32, 3)
    np.testing.assert_array_equal(np.bincount(test.labels), [1000] * 10)


def test_offline_and_not_prepared_is_one_quick_error_line(tmp_path, offline, capfd, caplog):
    start = time.monotonic()
    message = error_of("mnist", "train", str(tmp_path))
    assert time.monotonic() - start < 20  # TFDS's own retries take more than three minutes.
    assert "cannot be reached" in message and all(way in message for way in WAYS_OUT)
    assert list(tmp_path.iterdir()) == []
    assert caplog.messages == []
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("name", ["no_such_set", "No Such Set", "mnist:1.0.0", ""])
def test_unknown_names_are_one_error_line(name, tmp_path):
    message = error_of(name, "train", str(tmp_path))
    assert repr(name) in message and all(way in message for way in WAYS_OUT)


@pytest.mark.parametrize("name", ["imdb_reviews", "caltech101", "robonet"])
def test_sets_that_are_not_image_classification_fail_before_any_download(name, tmp_path):
    assert "needs a uint8 `image` of one fixed shape" in error_of(name, "train", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_examples_of_a_split_are_named_as_in_tfds(tiny_dir):
    digits, tiny = datasets.load("digits"), datasets.load("tiny_images", data_dir=tiny_dir)
    for text, first, last in (("[:1000]", 0, 1000), ("[1000:]", 1000, 1437), ("[7:9]", 7, 9)):
        part = datasets.load("digits", f"train{text}")
        assert (part.split, part.num_classes) == (f"train{text}", 10)
        np.testing.assert_array_equal(part.images, digits.images[first:last])
        np.testing.assert_array_equal(part.labels, digits.labels[first:last])
    part = datasets.load("tiny_images", "train[1:4]", tiny_dir)
    np.testing.assert_array_equal(part.images, tiny.images[1:4])
    np.testing.assert_array_equal(part.labels, tiny.labels[1:4])


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("valid", "unknown split 'valid'; use one of: train, validation, test, or examples of one"),
        ("train[:1e3]", "unknown split 'train[:1e3]'; use one of"),
        ("train[:10%]", "unknown split 'train[:10%]'; use one of"),
        ("train[:" + "9" * 5000 + "]", "unknown split 'train[:999"),
        ("train[-5:]", "unknown split 'train[-5:]'; use one of"),
        ("validation", "data set 'digits' has no validation split, only: train, test"),
        (
            "test[:361]",
            "the test split of data set 'digits' has 360 examples, too few for test[:361]",
        ),
        ("train[5:5]", "the train[5:5] split of data set 'digits' has no examples"),
    ],
)
def test_unknown_split(split, message):
    assert error_of("digits", split).startswith(message)


def test_what_a_split_names():
    assert datasets.parse_split("test") == ("test", slice(None, None))
    assert datasets.parse_split("validation[20:]") == ("validation", slice(20, None))
    assert datasets.parse_split("train[:10000]") == ("train", slice(None, 10000))
