"""The restricted pickle reader rebuilds numbers exactly and never runs what a file asks for."""

import collections
import marshal
import os
import pathlib
import pickle

import numpy as np
import pytest

from l2o_tf.core import errors
from l2o_tf.legacy import pickles


def _read(folder: pathlib.Path, data: bytes):
    path = folder / "file.pickle"
    path.write_bytes(data)
    return pickles.read(path)


def _refusal(folder: pathlib.Path, data: bytes) -> str:
    with pytest.raises(errors.InputError) as info:
        _read(folder, data)
    message = str(info.value)
    assert message.startswith(f"cannot read {folder / 'file.pickle'}: ")
    assert "\n" not in message and len(message) < 500
    return message


def _text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
        np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3) / 7),
        np.array([1.5, -0.0, np.inf, 2.0**-149], np.dtype(">f4")),
        np.array(0.1, np.float16),
        np.array([[2**63 - 1], [-5]], np.int64),
        np.array([0, 255], np.uint8),
    ],
    ids=lambda array: f"{array.dtype.str}{array.shape}",
)
def test_arrays_are_rebuilt_bit_by_bit(tmp_path, array, protocol):
    data = pickle.dumps({"a": [array, array]}, protocol)
    for numpy_core in (b"numpy._core.", b"numpy.core."):
        if protocol < 4:  # From protocol 4 on, a name carries its length.
            data = data.replace(b"numpy._core.", numpy_core)
        first, second = _read(tmp_path, data)["a"]
        assert first is second
        native = array.astype(array.dtype.newbyteorder("="))
        assert first.dtype == native.dtype and first.shape == native.shape
        assert first.tobytes() == native.tobytes()


@pytest.mark.parametrize("protocol", range(6))
def test_scalars_and_containers_are_rebuilt(tmp_path, protocol):
    value = {
        "floats": [0.1, -1e300, float("inf")],
        "scalars": (np.float32(0.1), np.float64(0.1), np.int32(-7)),
        "integers": [0, 255, 65535, -1, 2**31, 10**30],
        "other": [True, False, None, "ünïcode", b"\x00\xff", [], {}],
        "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    }
    result = _read(tmp_path, pickle.dumps(value, protocol))
    assert result == value
    assert [type(x) for x in result["scalars"]] == [np.float32, np.float64, np.int32]
    assert [type(x) for x in result["other"]] == [type(x) for x in value["other"]]


def _dill_pickle(module: str, attribute: str = "_reconstruct") -> bytes:
    """What dill of 2019 makes of `defaultdict(dict, a=np.array([1, 2], "f4"))`."""
    return b"".join(
        [
            b"\x80\x03ccollections\ndefaultdict\ncdill._dill\n_load_type\n",
            _text("dict") + b"\x85R\x85R(" + _text("a"),
            b"cdill._dill\n_get_attr\ncdill._dill\n_import_module\n" + _text(module) + b"\x85R",
            _text(attribute) + b"\x86R",
            b"cnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\n",
            _text("f4") + b"K\x00K\x01\x87R(K\x03" + _text("<") + b"NNNJ\xff\xff\xff\xff",
            b"J\xff\xff\xff\xffK\x00tb\x89C\x08" + np.array([1, 2], "<f4").tobytes() + b"tbu.",
        ]
    )


def test_the_spelling_of_dill_is_understood(tmp_path):
    result = _read(tmp_path, _dill_pickle("numpy.core._multiarray_umath"))
    assert list(result) == ["a"]
    assert result["a"].dtype == np.float32
    np.testing.assert_array_equal(result["a"], [1, 2])


def test_python_2_is_understood(tmp_path):
    # What Python 2.7 writes of {'a': np.array([1, 2], 'f4')} and [np.float32(0.1), 0.5].
    data = np.array([1, 2], "<f4").tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\np1\n(cnumpy\nndarray\np2\n(I0\ntp3\nS'b'\np4\n"
        b"tp5\nRp6\n(I1\n(I2\ntp7\ncnumpy\ndtype\np8\n(S'f4'\np9\nI0\nI1\ntp10\nRp11\n"
        b"(I3\nS'<'\np12\nNNNI-1\nI-1\nI0\ntp13\nbI00\nS"
        + repr(data)[1:].encode()
        + b"\np14\ntp15\nb"
    )
    result = _read(tmp_path, b"(dp0\nS'a'\np16\n" + array + b"s.")
    assert result["a"].dtype == np.float32 and result["a"].tolist() == [1, 2]
    scalar = np.float32(0.1).tobytes()
    losses = (
        b"\x80\x02]q\x00(cnumpy.core.multiarray\nscalar\nq\x01cnumpy\ndtype\nq\x02U\x02f4q\x03K\x00K\x01"
        b"\x87q\x04Rq\x05(K\x03U\x01<q\x06NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x07bU\x04"
        + scalar
        + b"\x86q\x08Rq\tG?\xe0\x00\x00\x00\x00\x00\x00e."
    )
    assert _read(tmp_path, losses) == [np.float32(0.1), 0.5]
    text = b"S'caf\\xe9'\n."
    assert _read(tmp_path, text) == "caf\xe9"


@pytest.mark.parametrize("protocol", range(6))
def test_ordered_dictionaries(tmp_path, protocol):
    value = collections.OrderedDict(b=1.0, a=collections.OrderedDict(x=2.0))
    result = _read(tmp_path, pickle.dumps(value, protocol))
    assert result == {"b": 1.0, "a": {"x": 2.0}} and list(result) == ["b", "a"]


def test_ordered_dictionaries_of_python_2(tmp_path):
    begin = b"ccollections\nOrderedDict\n("
    assert _read(tmp_path, begin + b"(lp0\n(lp1\nS'a'\naF1.5\naatR.") == {"a": 1.5}
    for damaged in (b"(lp0\nI1\natR.", b"(lp0\n(lp1\nI1\naI1\naatR."):
        with pytest.raises(errors.InputError, match="cannot read"):
            _read(tmp_path, begin + damaged)


class _RunsOnCall:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class _RunsOnBuild:
    def __init__(self, path):
        self.path = path

    def __getstate__(self):
        return {"path": str(self.path)}

    def __setstate__(self, state):
        pathlib.Path(state["path"]).touch()


def _code_object(sentinel: pathlib.Path) -> bytes:
    code = marshal.dumps(compile(f"open({str(sentinel)!r}, 'w').close()", "x", "exec"))
    function = b"ctypes\nFunctionType\n(cmarshal\nloads\n(B" + len(code).to_bytes(4, "little")
    return b"\x80\x03" + function + code + b"tR}tR)R."


def _calls(command: str) -> dict[str, bytes]:
    """Pickles that run a shell command when Python's own unpickler reads them."""
    name = os.system.__module__
    return {
        "GLOBAL, REDUCE": b"cos\nsystem\n(" + _text(command) + b"tR.",
        "STACK_GLOBAL": b"\x80\x04"
        + _text("os")
        + _text("system")
        + b"\x93"
        + _text(command)
        + b"\x85R.",
        "INST": b"(" + _text(command) + b"ios\nsystem\n.",
        "OBJ": b"(c" + f"{name}\nsystem\n".encode() + _text(command) + b"o.",
        "getattr": b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n("
        + _text("os")
        + b"tR"
        + _text("system")
        + b"tR("
        + _text(command)
        + b"tR.",
        "eval": b"cbuiltins\neval\n(" + _text(f"__import__('os').system({command!r})") + b"tR.",
        "__reduce__": pickle.dumps({"lstm_1": _RunsOnCall(command)}),
        "object array": pickle.dumps(np.array([1, _RunsOnCall(command)], object), 4),
        "object array, protocol 2": pickle.dumps(np.array([1, _RunsOnCall(command)], object), 2),
        "object array, protocol 5": pickle.dumps(np.array([1, _RunsOnCall(command)], object), 5),
    }


@pytest.mark.parametrize("attack", [*_calls("").keys(), "__setstate__", "code object"])
def test_attacks_that_work_on_pickle_do_nothing_here(tmp_path, attack):
    sentinel = tmp_path / "sentinel"
    attacks = _calls(f"touch {sentinel}") | {
        "__setstate__": pickle.dumps(_RunsOnBuild(sentinel), 2),
        "code object": _code_object(sentinel),
    }
    pickle.loads(attacks[attack])
    assert sentinel.exists(), "the attack itself is broken, so that it proves nothing"
    sentinel.unlink()

    _refusal(tmp_path, attacks[attack])
    assert not sentinel.exists()


def _build_array(state: bytes) -> bytes:
    function = b"\x80\x03cnumpy.core.multiarray\n_reconstruct\n"
    return function + b"cnumpy\nndarray\nK\x00\x85C\x01b\x87R" + state


def _dtype(code: str, order: str = "<") -> bytes:
    state = b"(K\x03" + _text(order) + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return b"cnumpy\ndtype\n" + _text(code) + b"K\x00K\x01\x87R" + state


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (_dill_pickle("os", "system"), "wants to run 'os.system'"),
        (_dill_pickle("numpy", "load"), "wants to run 'numpy.load'"),
        (b"cdill._dill\n_create_function\n.", "wants to run 'dill._dill._create_function'"),
        (b"cos\nsystem\n" + b"x" * 10 + b".", "wants to run 'os.system'"),
        (b"c" + b"x" * 9999 + b"\ny\n.", "which is not allowed"),
        (b"\x80\x04K\x01K\x02\x93.", "not a string"),
        (b"\x80\x02\x82\x01.", "EXT1 is not allowed"),
        (b"Pid\n.", "PERSID is not allowed"),
        (b"K\x01Q.", "BINPERSID is not allowed"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "NEWOBJ is not allowed"),
        (b"\x80\x02K\x01)R.", "not a function"),
        (b"cnumpy\nndarray\n(J\xff\xff\xff\x7ftR.", "arguments of ndarray"),
        (b"cnumpy\ndtype\n(" + _text("O8") + b"K\x00K\x01tR.", "arguments of dtype"),
        (b"cnumpy\ndtype\n(" + _text("f4,O") + b"K\x00K\x01tR.", "arguments of dtype"),
        (b"}}}sb.", "string keys"),
        (_build_array(b"}b."), "sets the state"),
        (_build_array(b"(K\x01K\x02\x85" + _dtype("f4") + b"\x89C\x04abcdtb."), "does not fit"),
        (_build_array(b"(K\x01J\xff\xff\xff\xff\x85" + _dtype("f4") + b"\x89C\x04abcdtb."), "fit"),
        (_build_array(b"(K\x01" + _dtype("f4") + b"\x85" + _dtype("f4") + b"\x89C\x00tb."), "fit"),
        (_build_array(b"(K\x01K\x00\x85" + _dtype("f4") + b"\x89C\x00tb."), "does not fit"),
        (
            _build_array(
                b"(K\x01J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86" + _dtype("f4") + b"\x89C\x04abcdtb."
            ),
            "does not fit",
        ),
        (_build_array(b"(K\x01\x88\x85" + _dtype("f4") + b"\x89C\x04abcdtb."), "does not fit"),
        (_build_array(b"(K\x01K\x01\x85" + _dtype("f4") + b"\x89]tb."), "sets the state"),
        (_build_array(b"(K\x01K\x01\x85" + _dtype("f4", "O") + b"\x89C\x04abcdtb."), "the state"),
        (_build_array(b"(K\x01K\x01\x85cnumpy\nndarray\n\x89C\x04abcdtb."), "sets the state"),
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "unknown"),
        (b"]", "exhausted"),
        (b"]]K\x01..", "wrong place"),
        (b"].]", "wrong place"),
        (b"]].", "wrong place"),
        (b".", "wrong place"),
        (b"(].", "wrong place"),
        (b"h\x05.", "never made"),
        (b"\x85.", "never made"),
        (b"K\x01K\x02a.", "appends"),
        (b"}(" + _text("a") + b"u.", "argument"),
        (b"\x80\x02\x8e\xff\xff\xff\xff\xff\xff\xff\xff.", "bytes"),
        (b"B\xff\xff\xff\x7fabc.", "bytes"),
        (b"I" + b"1" * 5000 + b"\n.", "integer"),
        (b"Fnot\tthe\nF", "float"),
        (b"X\x02\x00\x00\x00\xff\xff.", "utf-8"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_everything_else_is_refused_in_one_line(tmp_path, data, reason):
    assert reason in _refusal(tmp_path, data)


def test_object_arrays_are_refused_whatever_they_hold(tmp_path):
    for protocol in range(6):
        _refusal(tmp_path, pickle.dumps(np.array([1, 2], object), protocol))
    _refusal(tmp_path, pickle.dumps(np.zeros(2, [("a", "f4")]), 2))


def test_recursion_bombs_end_at_once(tmp_path):
    deep = b")" + b"\x85" * 300_000
    assert isinstance(_read(tmp_path, deep + b"."), tuple)
    assert "string keys" in _refusal(tmp_path, b"}" + deep + b"K\x01s.")
    # 2^60 paths through 60 pairs: hashing, comparing or printing it would not return.
    wide = b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))
    assert "string keys" in _refusal(tmp_path, b"}" + wide + b"K\x01s.")
    itself = _read(tmp_path, b"]q\x00h\x00a.")
    assert itself[0] is itself


def test_memory_bombs_are_stopped(tmp_path, monkeypatch):
    # Python's own unpickler allocates the memo up to the largest index: 32 GiB here.
    assert _read(tmp_path, b"]r\xff\xff\xff\x7f.") == []
    text = _text("a" * 2**20) + b"q\x00" + _text("latin1") + b"q\x01"
    copies = b"c_codecs\nencode\nh\x00h\x01\x86R" * 17
    assert "unpacks to more" in _refusal(tmp_path, text + copies + b".")
    monkeypatch.setattr(pickles, "MAX_OPCODES", 100)
    assert "100 instructions" in _refusal(tmp_path, b"]" * 100 + b".")
    assert _read(tmp_path, b"(" + b"N" * 97 + b"t.") == (None,) * 97
    monkeypatch.setattr(pickles, "MAX_BYTES", 50)
    assert "larger than 50 bytes" in _refusal(tmp_path, b"N" * 51)


def test_shapes_of_huge_numbers_cost_nothing(tmp_path):
    huge = b"\x8a\xff" + b"\x7f" * 255 + b"q\x00"
    shape = b"(" + huge + b"h\x00" * 100_000 + b"t"
    assert "fit" in _refusal(
        tmp_path, _build_array(b"(K\x01" + shape + _dtype("f4") + b"\x89C\x04abcdtb.")
    )


def test_unreadable_paths_are_named(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(errors.InputError, match=f"^cannot read {path}: .*; give a file"):
            pickles.read(path)
