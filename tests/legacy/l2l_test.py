"""Legacy optimizer files: read exactly, written so that the legacy code reads them."""

import hashlib
import pathlib
import pickle
import pickletools
import re
import time

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import errors, seeds
from l2o_tf.legacy import l2l
from l2o_tf.training import meta_loss, unrolls
from l2o_tf.training.segment import Segment
from tests import reference
from tests.training import problems

DM_SHAPES = {
    "lstm_1/w_gates": (22, 80),
    "lstm_1/b_gates": (80,),
    "lstm_2/w_gates": (40, 80),
    "lstm_2/b_gates": (80,),
    "linear/w": (20, 1),
    "linear/b": (1,),
}
RNNPROP_SHAPES = DM_SHAPES | {
    "input_projection/w": (2, 20),
    "input_projection/b": (20,),
    "lstm_1/w_gates": (40, 80),
}
SMALL_SHAPES = {  # Layers of 3 and 2 units.
    "lstm_1/w_gates": (5, 12),
    "lstm_1/b_gates": (12,),
    "lstm_2/w_gates": (5, 8),
    "lstm_2/b_gates": (8,),
    "linear/w": (2, 1),
    "linear/b": (1,),
}


def _weights(shapes, dtype=np.float32):
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def _shapes(weights):
    return {name: value.shape for name, value in weights.items()}


def _assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert actual[name].dtype == value.dtype and actual[name].shape == value.shape, name
        assert actual[name].tobytes() == value.tobytes(), name


def _nested(weights):
    result = {}
    for name, value in weights.items():
        module, variable = name.split("/")
        result.setdefault(module, {})[variable] = value
    return result


def _pickled(path: pathlib.Path, content) -> pathlib.Path:
    path.write_bytes(pickle.dumps(content, protocol=4))
    return path


@pytest.mark.parametrize(
    "file", [f"{s}/cw.l2l-0" for s in ("dm", "dm_aug", "dm_cl", "dm_il", "dm_cl_il")]
)
def test_the_authors_l2o_dm_files(file):
    weights = l2l.read(reference.path(f"legacy/{file}"))
    assert _shapes(weights) == DM_SHAPES
    assert all(value.dtype == np.float32 for value in weights.values())
    assert l2l.rule_name(weights) == "dm"


@pytest.mark.parametrize("file", [f"{s}/rp.l2l-0" for s in ("rnnprop", "rnnprop_cl_il")])
def test_the_authors_rnnprop_files(file):
    weights = l2l.read(reference.path(f"legacy/{file}"))
    assert _shapes(weights) == RNNPROP_SHAPES
    assert all(value.dtype == np.float32 for value in weights.values())
    assert l2l.rule_name(weights) == "rnnprop"


def test_the_values_are_those_that_dill_reads():
    # From dill 0.3.0 with NumPy 1.16.4 under Python 3.6.
    weights = l2l.read(reference.path("legacy/dm_cl_il/cw.l2l-0"))
    assert float(weights["lstm_1/w_gates"][0, 0]).hex() == "-0x1.c848620000000p-5"
    assert float(weights["lstm_1/w_gates"][21, 79]).hex() == "0x1.570b5a0000000p-3"
    assert float(weights["lstm_2/w_gates"][39, 0]).hex() == "-0x1.2635ea0000000p-3"
    assert float(weights["linear/w"][19, 0]).hex() == "-0x1.80ece40000000p-2"
    assert float(weights["linear/b"][0]).hex() == "-0x1.9f16320000000p-8"
    hashes = {n: hashlib.sha256(v.tobytes()).hexdigest()[:16] for n, v in weights.items()}
    assert hashes == {
        "lstm_1/w_gates": "ee6188c2afa2e724",
        "lstm_1/b_gates": "b824f24b05947aa4",
        "lstm_2/w_gates": "1d66bdbe2f4418cf",
        "lstm_2/b_gates": "a62aa1dd83e4ffee",
        "linear/w": "9e3d9db264cb9d6a",
        "linear/b": "aaf73f75d3a3eb76",
    }


@pytest.mark.parametrize("rule", ["dm", "rnnprop"])
def test_the_files_of_a_recent_dill_equal_the_weights_beside_them(rule):
    golden = reference.arrays(f"golden/dm/net_{rule}.npz")
    weights = l2l.read(reference.path(f"golden/dm/fresh_{rule}.l2l-0"))
    _assert_same(
        weights, {n.removeprefix("w/"): v for n, v in golden.items() if n.startswith("w/")}
    )


@pytest.mark.parametrize("shapes", [DM_SHAPES, RNNPROP_SHAPES, SMALL_SHAPES])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_writing_and_reading_is_bit_exact(tmp_path, shapes, dtype):
    weights = _weights(shapes, dtype)
    weights["linear/w"][:2, 0] = -0.0, np.finfo(dtype).smallest_subnormal
    weights["lstm_1/w_gates"] = np.asfortranarray(weights["lstm_1/w_gates"])
    l2l.write(tmp_path / "cw.l2l-0", weights)
    result = l2l.read(tmp_path / "cw.l2l-0")
    _assert_same(result, weights)


def test_arrays_shared_in_the_file_are_separate_after_reading(tmp_path):
    weights = _weights(DM_SHAPES)
    weights["lstm_2/b_gates"] = weights["lstm_1/b_gates"]
    result = l2l.read(_pickled(tmp_path / "file", _nested(weights)))
    result["lstm_1/b_gates"] += 1.0
    np.testing.assert_array_equal(result["lstm_2/b_gates"], weights["lstm_1/b_gates"])


def test_a_layer_without_units_is_refused(tmp_path):
    shapes = {"lstm_1/w_gates": (2, 0), "lstm_1/b_gates": (0,)}
    shapes |= {"linear/w": (0, 1), "linear/b": (1,)}
    with pytest.raises(errors.InputError, match=r"lstm_1/w_gates has shape \(2, 0\), expected"):
        l2l.write(tmp_path / "file", _weights(shapes))


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_any_consistent_layers_are_accepted(tmp_path, layers):
    shapes, inputs = {"input_projection/w": (2, 6), "input_projection/b": (6,)}, 6
    for layer in range(1, layers + 1):
        shapes[f"lstm_{layer}/w_gates"] = (inputs + 2 * layer, 8 * layer)
        shapes[f"lstm_{layer}/b_gates"] = (8 * layer,)
        inputs = 2 * layer
    shapes |= {"linear/w": (inputs, 1), "linear/b": (1,)}
    l2l.write(tmp_path / "file", _weights(shapes))
    assert _shapes(l2l.read(tmp_path / "file")) == shapes


def test_a_rule_without_layers_is_a_rate_that_can_be_trained_on(tmp_path):
    """The network of the legacy problem "simple"."""
    l2l.write(tmp_path / "file", {"linear/w": np.float32([[0.5]]), "linear/b": np.float32([0.1])})
    rule, params = l2l.load_rule(tmp_path / "file"), [tf.zeros([3])]
    updates, _ = rule.update([tf.constant([1.0, 2.0, -4.0])], rule.init(params), params)
    np.testing.assert_allclose(updates[0], [0.6, 1.1, -1.9], rtol=1e-6)
    optimizee = problems.Bowl()
    segment = Segment(rule, optimizee, lambda t: (), 1)
    start = unrolls.start(optimizee, rule, seeds.make_seed(0, "test"))
    run = meta_loss.meta_gradient(segment, start, rule.weights())
    # Of the loss after one step: sum_i c_i (x_i + w c_i x_i + b) (c_i x_i, 1).
    c, x = problems.BOWL_CURVATURES, problems.BOWL_START
    slope = c * (x + 0.5 * c * x + 0.1)
    np.testing.assert_allclose(run.gradient["linear/w"], [[(slope * c * x).sum()]], rtol=1e-5)
    np.testing.assert_allclose(run.gradient["linear/b"], [slope.sum()], rtol=1e-5)


@pytest.mark.filterwarnings("ignore:numpy.core")
def test_written_files_suit_the_python_and_numpy_of_the_legacy_code(tmp_path):
    weights = _weights(RNNPROP_SHAPES)
    l2l.write(tmp_path / "rp.l2l-0", weights)
    data = (tmp_path / "rp.l2l-0").read_bytes()
    assert b"numpy._core" not in data
    instructions = list(pickletools.genops(data))
    assert max(opcode.proto for opcode, _, _ in instructions) == 2
    assert [argument for opcode, argument, _ in instructions if opcode.name == "GLOBAL"] == [
        "numpy.core.multiarray _reconstruct",
        "numpy ndarray",
        "_codecs encode",
        "numpy dtype",
    ]
    loaded = pickle.loads(data)
    assert {module: set(variables) for module, variables in loaded.items()} == {
        "input_projection": {"w", "b"},
        "lstm_1": {"w_gates", "b_gates"},
        "lstm_2": {"w_gates", "b_gates"},
        "linear": {"w", "b"},
    }
    for name, value in weights.items():
        module, variable = name.split("/")
        np.testing.assert_array_equal(loaded[module][variable], value, strict=True)


def test_data_that_spell_a_module_name_survive(tmp_path):
    weights = _weights(SMALL_SHAPES)
    spelled = np.frombuffer(b"cnumpy._core.multiarray\n", np.float32)
    weights["lstm_1/w_gates"][0, :6] = spelled
    l2l.write(tmp_path / "file", weights)
    _assert_same(l2l.read(tmp_path / "file"), weights)
    names = [a for o, a, _ in pickletools.genops((tmp_path / "file").read_bytes()) if a]
    assert "numpy.core.multiarray _reconstruct" in names


def _without(*names):
    return {n: v for n, v in _weights(DM_SHAPES).items() if n not in names}


def _with(**changes):
    return _weights(DM_SHAPES) | {n.replace("__", "/"): v for n, v in changes.items()}


WRONG_WEIGHTS = {
    "nothing": ({}, "missing: lstm_1/w_gates, lstm_1/b_gates, linear/w, linear/b, unknown: none"),
    "a variable is missing": (_without("linear/b"), "missing: linear/b, unknown: none"),
    "a layer is missing": (
        _without("lstm_1/w_gates", "lstm_1/b_gates"),
        "missing: lstm_1/w_gates, lstm_1/b_gates, unknown: none",
    ),
    "an unknown variable": (_with(linear__c=np.ones(1)), "missing: none, unknown: 'linear/c'"),
    "an unknown module": (_with(**{"a\nb__c": np.ones(1)}), r"unknown: 'a\nb/c'"),
    "half a projection": (
        _with(input_projection__b=np.ones(20)),
        "missing: input_projection/w, unknown: none",
    ),
    "no projection for its layer": (
        _with(lstm_1__w_gates=np.ones((40, 80))),
        "lstm_1/w_gates has shape (40, 80), expected (22, 80)",
    ),
    "layers do not fit": (
        _with(lstm_2__w_gates=np.ones((41, 80))),
        "lstm_2/w_gates has shape (41, 80), expected (40, 80)",
    ),
    "not four gates": (
        _with(lstm_1__b_gates=np.ones(81)),
        "lstm_1/b_gates has shape (81,), expected (80,)",
    ),
    "a flat matrix": (_with(linear__w=np.ones(20)), "linear/w has shape (20,), expected (20, 1)"),
    "a scalar": (_with(linear__b=np.float32(1)), "linear/b has shape (), expected (1,)"),
    "two outputs": (_with(linear__w=np.ones((20, 2))), "has shape (20, 2), expected (20, 1)"),
    "integers": (_with(linear__b=np.ones(1, np.int32)), "linear/b is int32, expected float32"),
    "NaN": (_with(linear__b=np.array([np.nan], np.float32)), "linear/b has values that are not"),
    "infinity": (_with(lstm_2__b_gates=np.full(80, -np.inf)), "lstm_2/b_gates has values that are"),
}


@pytest.mark.parametrize("case", WRONG_WEIGHTS)
def test_wrong_weights_are_neither_read_nor_written(tmp_path, case):
    weights, reason = WRONG_WEIGHTS[case]
    arrays = {name: np.asarray(value) for name, value in weights.items()}
    source = _pickled(tmp_path / "source", _nested(arrays))
    target = tmp_path / "target"
    with pytest.raises(errors.InputError) as reading:
        l2l.read(source)
    with pytest.raises(errors.InputError) as writing:
        l2l.write(target, weights)
    assert str(reading.value).startswith(f"cannot use the optimizer file {source}: ")
    assert str(writing.value).startswith(f"cannot write {target}: ")
    for message in (str(reading.value), str(writing.value)):
        assert reason in message and "\n" not in message
    assert not target.exists()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ([1.0], "list"),
        (np.ones(3), "ndarray"),
        ({"lstm_1": np.ones(3)}, "ndarray"),
        ({"lstm_1": {"w_gates": [1.0]}}, "list"),
        ({"lstm_1": {"w_gates": {"deeper": np.ones(3)}}}, "dict"),
    ],
)
def test_other_structures_are_named(tmp_path, content, kind):
    path = _pickled(tmp_path / "file", content)
    with pytest.raises(errors.InputError, match=f"it holds a {kind} where {{module: ") as info:
        l2l.read(path)
    assert "\n" not in str(info.value)


def _mutations(data: bytes, count: int):
    rng = np.random.default_rng(1)
    for _ in range(count):
        mutated = bytearray(data)
        # Most bytes are numbers: half of the mutations go to the first tenth, the structure.
        where = int(rng.integers(len(data) if rng.random() < 0.5 else len(data) // 10))
        kind = rng.integers(4)
        if kind == 0:
            mutated[where] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del mutated[where:]
        elif kind == 2:
            mutated[where:where] = rng.bytes(int(rng.integers(1, 9)))
        else:
            mutated[where] = int(rng.integers(256))
        yield bytes(mutated)


def _fuzz(path: pathlib.Path, data: bytes, count: int) -> tuple[int, int]:
    read = refused = 0
    for mutated in _mutations(data, count):
        path.write_bytes(mutated)
        try:
            weights = l2l.read(path)
        except errors.InputError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 1000
        else:
            read += 1
            assert _shapes(weights) == SMALL_SHAPES
            assert all(np.isfinite(value).all() for value in weights.values())
    return read, refused


@pytest.mark.parametrize("protocol", range(6))
def test_damaged_files_give_valid_weights_or_one_line(tmp_path, protocol):
    data = pickle.dumps(_nested(_weights(SMALL_SHAPES)), protocol)
    read, refused = _fuzz(tmp_path / "file", data, 200)
    assert read >= 10 and refused >= 50


ONE_FEATURE = DM_SHAPES | {"lstm_1/w_gates": (21, 80)}


@pytest.mark.parametrize("shapes", [ONE_FEATURE, {"linear/w": (1, 1), "linear/b": (1,)}])
def test_rules_of_the_toy_problems_take_the_gradient_itself(tmp_path, shapes):
    weights = _weights(shapes)
    path = _pickled(tmp_path / "cw.l2l-0", _nested(weights))
    _assert_same(l2l.read(path), weights)
    rule = l2l.load_rule(path)
    assert (rule.preprocess, rule.output_scale) == ("identity", 1.0)
    grads = np.float32([0.3, -2.0])
    updates, _ = rule.update([tf.constant(grads)], rule.init([tf.zeros(2)]), [tf.zeros(2)])
    inputs = grads[None].astype(np.float64)
    for layer in range(1, 1 + len(rule.units)):  # From a state of zeros.
        w, b = weights[f"lstm_{layer}/w_gates"], weights[f"lstm_{layer}/b_gates"]
        i, j, _, o = np.split(w[: len(inputs)].T @ inputs + b[:, None], 4)
        inputs = np.tanh(np.tanh(j) / (1 + np.exp(-i))) / (1 + np.exp(-o))
    expected = (weights["linear/w"].T @ inputs + weights["linear/b"][:, None])[0]
    np.testing.assert_allclose(updates[0], expected, rtol=1e-5)
    l2l.write(tmp_path / "again", rule.weights())
    _assert_same(l2l.read(tmp_path / "again"), weights)


@pytest.mark.parametrize(
    "name, options, lost",
    [
        ("dm", {"centered": True, "drift": 1e-4}, "not centered=True, drift=0.0001;"),
        ("dm", {"output_scale": 0.1}, "not output_scale=0.1;"),
        ("rnnprop", {"drift": 1e-4}, "not drift=0.0001;"),
    ],
)
def test_a_rule_with_options_that_a_file_cannot_hold_is_not_written(tmp_path, name, options, lost):
    rule = rules.create(name, **options)
    with pytest.raises(errors.InputError, match=re.escape(lost)):
        l2l.write_rule(tmp_path / "file", rule)
    assert not (tmp_path / "file").exists()
    with pytest.raises(errors.InputError, match="expected exactly the weights"):
        l2l.write_rule(tmp_path / "file", rules.create("adam"))


def test_thousands_of_layers_are_refused_at_once(tmp_path):
    layers = {
        f"lstm_{i}": {"w_gates": np.zeros((2, 4)), "b_gates": np.zeros(4)} for i in range(1, 3000)
    }
    linear = {"w": np.zeros((1, 1)), "b": np.zeros(1)}
    path = _pickled(tmp_path / "x", {**layers, "linear": linear})
    started = time.process_time()
    with pytest.raises(errors.InputError, match="unknown: 'lstm_65/w_gates'"):
        l2l.read(path)
    assert time.process_time() - started < 5
