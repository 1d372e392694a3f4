"""The import of TensorFlow 1 checkpoints of L2O-Scale."""

import pathlib
import shutil
import struct

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import tensor_bundle_pb2

from l2o_tf import loading
from l2o_tf.core import errors
from l2o_tf.legacy import tensor_bundle, tf1_checkpoint
from l2o_tf.rules import analytical, hierarchical_rnn, scale_small
from tests import reference


def authors_checkpoint():
    return str(reference.path("legacy/scale") / "model.ckpt-0")


def write_checkpoint(folder, variables):
    """Writes TF1-format files with the given arrays; returns their common beginning."""
    path = str(folder / "model.ckpt-7")
    names = sorted(variables)
    values = [tf.constant(variables[name]) for name in names]
    tf.raw_ops.SaveV2(
        prefix=path, tensor_names=names, shape_and_slices=[""] * len(names), tensors=values
    )
    return path


def variables_of(rule):
    """The rule's own weights under their TF1 names."""
    weights = rule.weights()
    names = tf1_checkpoint.legacy_names(rule)
    return {theirs: weights[ours].numpy() for ours, theirs in names.items()}


def assert_one_line(raised):
    assert "\n" not in str(raised.value)


def test_the_authors_checkpoint_is_read_without_slots():
    golden = reference.arrays("golden/scale/authors_ckpt.npz")
    expected = {
        key.replace("|", "/"): value
        for key, value in golden.items()
        if key.startswith("LOL|") and not key.endswith(("RMSProp", "RMSProp_1"))
    }
    for path in (authors_checkpoint(), reference.path("legacy/scale")):
        variables = tf1_checkpoint.read(path)
        assert len(variables) == 31 and variables.keys() == expected.keys()
        for name, value in variables.items():
            np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_load_sets_every_weight_of_the_rule():
    golden = reference.arrays("golden/scale/authors_ckpt.npz")
    rule = hierarchical_rnn.HierarchicalRNN()
    tf1_checkpoint.load(rule, authors_checkpoint())
    weights = rule.weights()
    assert len(weights) == 31
    for ours, theirs in {
        "level0/from_tensor/w": "LOL|PerTensor|Layer0_RNN|Param|Affine|Matrix",
        "level1/from_global/b": "LOL|PerTensor|Layer1_RNN|Affine|Bias",
        "level2/gates/w": "LOL|Layer2_RNN|BiasGRUCell|gates|Affine|Matrix",
        "log_lr/step_offset": "LOL|PerTensor|param_stepsize_offset",
    }.items():
        np.testing.assert_array_equal(weights[ours], golden[theirs])


@pytest.mark.parametrize(
    "build",
    [
        lambda seed: hierarchical_rnn.HierarchicalRNN(seed, use_attention=True),
        lambda seed: hierarchical_rnn.HierarchicalRNN(seed, level_sizes=(4,)),
        lambda seed: scale_small.CoordinatewiseRNN(seed, units=(3, 4)),
        lambda seed: scale_small.GlobalLearningRate(initial_rate=0.1 * float(seed[0])),
        lambda seed: scale_small.LearningRateSchedule(initial_rate=float(seed[0]), num_steps=4),
        lambda seed: scale_small.TrainableAdam(learning_rate=0.1 * float(seed[0])),
    ],
)
def test_every_rule_of_the_package_is_read_back(tmp_path, build):
    source, target = build(tf.constant([1, 2])), build(tf.constant([3, 4]))
    slots = {
        f"{name}/{slot}": value + 1
        for name, value in variables_of(source).items()
        for slot in ("RMSProp", "RMSProp_1")
    }
    others = {"global_step": np.int32(7), **slots}
    path = write_checkpoint(tmp_path, variables_of(source) | others)
    tf1_checkpoint.load(target, path)
    loaded = loading.load(path)
    assert type(loaded) is type(source)
    for rule in (target, loaded):
        assert rule.weights().keys() == source.weights().keys()
        for name, value in rule.weights().items():
            np.testing.assert_array_equal(value, source.weights()[name], err_msg=name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_attention": True}, "the checkpoint lacks .*Attn.* and 1 more variables: build"),
        ({"use_gradient_shortcut": False}, "the rule has no use for .*GradsToDelta/Matrix: build"),
        ({"num_gradient_scales": 2}, r"has shape \[22, 20\] where the rule has \[16, 20\]: build"),
    ],
)
def test_other_options_than_the_checkpoints_are_input_errors(options, message):
    rule = hierarchical_rnn.HierarchicalRNN(**options)
    before = rule.weights()
    with pytest.raises(errors.InputError, match=message) as raised:
        tf1_checkpoint.load(rule, authors_checkpoint())
    assert_one_line(raised)
    for name, value in rule.weights().items():
        np.testing.assert_array_equal(value, before[name])


def test_values_that_are_not_finite_are_input_errors():
    rule = scale_small.GlobalLearningRate()
    variables = {"LOL/global_learning_rate": np.float32("nan")}
    with pytest.raises(errors.InputError, match="is not finite") as raised:
        tf1_checkpoint.convert(rule, variables)
    assert_one_line(raised)


def test_rules_that_tf1_never_trained_are_input_errors():
    with pytest.raises(errors.InputError, match="no rule of L2O-Scale") as raised:
        tf1_checkpoint.convert(analytical.SGD(), {})
    assert_one_line(raised)


def test_missing_damaged_and_foreign_checkpoints_are_input_errors(tmp_path):
    rule = scale_small.GlobalLearningRate()
    good = write_checkpoint(tmp_path, variables_of(rule))
    index, data = f"{good}.index", f"{good}.data-00000-of-00001"
    for path in (good, index, data):
        assert tf1_checkpoint.read(path).keys() == variables_of(rule).keys()
    truncated, no_data, text = (tmp_path / name for name in ("a.ckpt", "b.ckpt", "c.ckpt"))
    shutil.copy(index, f"{truncated}.index")
    (tmp_path / "a.ckpt.data-00000-of-00001").write_bytes(b"")
    shutil.copy(index, f"{no_data}.index")
    (tmp_path / "c.ckpt.index").write_text("not an index")
    shutil.copy(data, tmp_path / "c.ckpt.data-00000-of-00001")
    empty = tmp_path / "empty"
    empty.mkdir()
    for path in (tmp_path / "nothing.ckpt", empty, truncated, no_data, text):
        with pytest.raises(errors.InputError, match="cannot read a TensorFlow 1") as raised:
            tf1_checkpoint.load(rule, path)
        assert_one_line(raised)

    foreign = tmp_path / "foreign"
    foreign.mkdir()
    path = write_checkpoint(foreign, {"dense/kernel": np.zeros(3, np.float32)})
    with pytest.raises(errors.InputError, match="no variables under LOL/") as raised:
        tf1_checkpoint.load(rule, path)
    assert_one_line(raised)


def test_the_numbers_are_those_of_tensorflows_reader(tmp_path):
    rng = np.random.default_rng(0)
    names = ["LOL/a", "LOL/a/b", "LOL/ab", "LOL/scalar", *(f"LOL/x{i:03d}" for i in range(300))]
    variables = {
        name: rng.normal(size=(i % 4, 3)[: i % 3]).astype(np.float32)
        for i, name in enumerate(names)
    }
    variables["other"] = np.ones(3, np.float64)
    path = write_checkpoint(tmp_path, variables)
    reader = tf.train.load_checkpoint(str(path))
    read = tf1_checkpoint.read(path)
    assert read.keys() == set(names)
    for name, value in read.items():
        np.testing.assert_array_equal(value, reader.get_tensor(name))
        assert value.shape == variables[name].shape and value.dtype == np.float32


@pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001"])
def test_damaged_files_give_one_line_and_no_other_numbers(tmp_path, ending):
    variables = {f"LOL/x{i}": np.arange(i + 1, dtype=np.float32) for i in range(20)}
    path = write_checkpoint(tmp_path, variables)
    file = pathlib.Path(f"{path}{ending}")
    good, rng, refused = file.read_bytes(), np.random.default_rng(0), 0
    for trial in range(150):
        bad = bytearray(good)
        if trial % 3 == 0:
            del bad[rng.integers(len(bad)) :]
        else:
            bad[rng.integers(len(bad))] ^= 1 << rng.integers(8)
        file.write_bytes(bad)
        try:
            for name, value in tf1_checkpoint.read(path).items():
                np.testing.assert_array_equal(value, variables[name])
        except errors.InputError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused >= 120


def _varint(number: int) -> bytes:
    low, high = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(high) if high else bytes([low])


def _crafted(entry: bytes) -> bytes:
    """An index of one entry whose checksums are right."""

    def block(pairs):
        body = b"".join(
            b"\0" + _varint(len(key)) + _varint(len(value)) + key + value for key, value in pairs
        )
        body += struct.pack("<II", 0, 1)
        return body + b"\0" + struct.pack("<I", tensor_bundle._masked_checksum(body + b"\0"))

    header = tensor_bundle_pb2.BundleHeaderProto(num_shards=1).SerializeToString()
    data = block([(b"", header), (b"LOL/x", entry)])
    index = block([(b"LOL/y", b"\0" + _varint(len(data) - 5))])
    footer = b"\0\0" + _varint(len(data)) + _varint(len(index) - 5)
    return data + index + footer.ljust(40, b"\0") + tensor_bundle._MAGIC


@pytest.mark.parametrize(
    "fields",
    [
        {"dtype": 1, "size": 2**40, "shape": [2**38]},
        {"dtype": 1, "size": 4, "shape": [-1]},
        {"dtype": 1, "size": 4, "shape": [1], "offset": -8},
        {"dtype": 1, "size": 4, "shape": [1], "offset": 2**40},
        {"dtype": 1, "size": 4, "shape": [1], "shard_id": 7},
        {"dtype": 7, "size": 4, "shape": [1]},
        {"dtype": 99, "size": 4, "shape": [1]},
        {"dtype": 1, "size": 4, "shape": [1] * 300},
    ],
)
def test_crafted_entries_do_not_reach_tensorflow(tmp_path, fields):
    fields = dict(fields)
    shape = fields.pop("shape")
    entry = tensor_bundle_pb2.BundleEntryProto(**fields)
    for size in shape:
        entry.shape.dim.add(size=size)
    (tmp_path / "x.ckpt.index").write_bytes(_crafted(entry.SerializeToString()))
    (tmp_path / "x.ckpt.data-00000-of-00001").write_bytes(bytes(4))
    with pytest.raises(errors.InputError, match="cannot read a TensorFlow 1") as raised:
        tf1_checkpoint.read(tmp_path / "x.ckpt")
    assert_one_line(raised)


def test_a_crafted_index_that_is_right_is_read(tmp_path):
    data = np.float32([3.5]).tobytes()
    entry = tensor_bundle_pb2.BundleEntryProto(
        dtype=1, size=4, crc32c=tensor_bundle._masked_checksum(data)
    )
    entry.shape.dim.add(size=1)
    (tmp_path / "x.ckpt.index").write_bytes(_crafted(entry.SerializeToString()))
    (tmp_path / "x.ckpt.data-00000-of-00001").write_bytes(data)
    assert tf1_checkpoint.read(tmp_path / "x.ckpt")["LOL/x"].tolist() == [3.5]
