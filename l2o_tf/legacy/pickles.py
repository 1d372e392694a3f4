"""Reads pickles of numbers and NumPy arrays without ever running what a file asks for.

A pickle is a program for a small stack machine whose GLOBAL instruction imports and whose REDUCE
instruction calls whatever it names. The files of the legacy code need a dozen such names. The
interpreter below has its own versions of those and knows nothing else, so there is nothing that
a crafted file could reach. `pickle.Unpickler` is not used, because restricting its globals does
not restrict its memory and stack: one large memo index or one dictionary key made of nested
tuples suffices to kill the process.
"""

import codecs
import dataclasses
import io
import math
import os
import pickletools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from l2o_tf.core import errors

MAX_BYTES = 2**24
MAX_OPCODES = 2_000_000
_MAX_REASON = 200

_MAX_DIMENSIONS = 8

_NAMES = {
    "builtins": ["dict"],
    "__builtin__": ["dict"],
    "collections": ["defaultdict", "OrderedDict"],
    "_codecs": ["encode"],
    "numpy": ["ndarray", "dtype"],
    "dill._dill": ["_load_type", "_import_module", "_get_attr", "_create_array"],
}
for _core in ("numpy.core", "numpy._core"):
    _NAMES[f"{_core}.multiarray"] = ["_reconstruct", "scalar"]
    _NAMES[f"{_core}._multiarray_umath"] = ["_reconstruct", "scalar"]
    _NAMES[f"{_core}.numeric"] = ["_frombuffer"]
_DTYPES = re.compile(r"f[248]|[iu][1248]")

_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
_LITERALS = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 FLOAT BINFLOAT UNICODE SHORT_BINUNICODE BINUNICODE "
    "STRING BINSTRING SHORT_BINSTRING SHORT_BINBYTES BINBYTES BINBYTES8 BYTEARRAY8".split()
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_PUTS = frozenset(["PUT", "BINPUT", "LONG_BINPUT"])
_GETS = frozenset(["GET", "BINGET", "LONG_BINGET"])
_IGNORED = frozenset(["PROTO", "FRAME"])


def read(path: str | os.PathLike[str]) -> Any:
    """Rebuilds the object pickled in a file.

    Args:
        path: a pickle of at most `MAX_BYTES` bytes, of any protocol, by Python 2 or 3.

    Returns:
        A nest of dicts with string keys, lists, tuples, strings, bytes, numbers, None and NumPy
        arrays and scalars of integers or floats in native byte order. Nests may be shared or
        contain themselves, so do not walk deeper than the structure that you expect.

    Raises:
        InputError: if the file cannot be read, is damaged or too large, or contains anything
            else.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if not data:
            raise ValueError("it is empty")
        if len(data) > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES} bytes")
        return _Interpreter().run(data)
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except ValueError as error:
        reason = str(error)
    except LookupError:
        reason = "the pickle is damaged, it uses values that it never made"
    # Raised outside of the handlers: the traceback of a damaged file helps nobody.
    raise errors.InputError(
        f"cannot read {os.fspath(path)}: {shorten(reason)}; "
        "give a file of numbers and arrays that the legacy code wrote"
    )


def shorten(text: str) -> str:
    """Makes one line of bounded length of a text that may come from a file."""
    return re.sub(r"\s+", " ", text[:_MAX_REASON])


@dataclasses.dataclass(frozen=True)
class _Global:
    """A name that the file may use; what it stands for is decided in `_reduce`."""

    name: str


@dataclasses.dataclass(frozen=True)
class _Module:
    """What dill's `_import_module` gives; only `_get_attr` takes it."""

    name: str


@dataclasses.dataclass
class _Dtype:
    """A NumPy dtype of numbers; BUILD sets its byte order after its creation."""

    code: str
    order: str = "="


class _Interpreter:
    """The stack machine; malformed input raises ValueError or LookupError."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._budget = MAX_BYTES

    def run(self, data: bytes) -> Any:
        """Executes a whole pickle and returns the object that it leaves."""
        for count, (opcode, argument, position) in enumerate(_instructions(data)):
            if count >= MAX_OPCODES:
                raise ValueError(f"it has more than {MAX_OPCODES} instructions")
            if opcode.name == "STOP":
                if position + 1 != len(data) or len(self._stack) != 1 or self._marks:
                    raise ValueError("the pickle is damaged, it ends at the wrong place")
                return self._stack.pop()
            self._execute(opcode.name, argument)
        raise AssertionError("the last instruction is STOP")

    def _execute(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self._stack.append(bytes(argument) if isinstance(argument, bytearray) else argument)
        elif name in _PUTS:
            self._memo[argument] = self._stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._stack[-1]
        elif name in _GETS:
            self._stack.append(self._memo[argument])
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name == "MARK":
            self._marks.append(len(self._stack))
        elif name in _CONTAINERS:
            _CONTAINERS[name](self)
        elif name == "GLOBAL":
            self._stack.append(_global(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            self._stack.append(_global(*self._pop(2)))
        elif name == "REDUCE":
            self._stack.append(self._reduce(*self._pop(2)))
        elif name == "BUILD":
            target, state = self._pop(2)
            self._build(target, state)
            self._stack.append(target)
        elif name not in _IGNORED:
            raise ValueError(f"the pickle instruction {name} is not allowed")

    def _pop(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise LookupError
        items = self._stack[-count:]
        del self._stack[-count:]
        return items

    def _pop_to_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _push_list(self, items: list[Any]) -> None:
        self._stack.append(items)

    def _push_tuple(self, items: list[Any]) -> None:
        self._stack.append(tuple(items))

    def _push_dict(self, items: list[Any]) -> None:
        self._stack.append({})
        self._set_items(items)

    def _extend(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise ValueError("the pickle is damaged, it appends to something else than a list")
        self._stack[-1].extend(items)

    def _set_items(self, items: list[Any]) -> None:
        keys, values = items[::2], items[1::2]
        # Hashing nested tuples takes exponential time or overflows the C stack.
        if not isinstance(self._stack[-1], dict) or not all(isinstance(k, str) for k in keys):
            raise ValueError("only dictionaries with string keys are allowed")
        self._stack[-1].update(zip(keys, values, strict=True))

    def _reduce(self, function: Any, args: Any) -> Any:
        """Stands in for the call of an allowed function."""
        if not isinstance(function, _Global) or not isinstance(args, tuple):
            raise ValueError("the pickle calls something that is not a function")
        # Class patterns in front of each constant: comparing with an array gives an array.
        match function.name, args:
            case "_load_type", (str("dict"),):
                return _Global("dict")
            case "defaultdict", (_Global("dict"),):
                return {}
            case "OrderedDict", ():
                return {}
            case "OrderedDict", (list(pairs),):  # Of Python 2.
                return self._ordered(pairs)
            case "_import_module", (str(module),):
                return _Module(module)
            case "_get_attr", (_Module(module), str(name)):
                return _global(module, name)
            case "encode", (str(text), str("latin1")):
                return self._spend(text.encode("latin1"))
            case "dtype", (str(code), _, _) if _DTYPES.fullmatch(code):
                return _Dtype(code)
            case "_reconstruct", (_Global("ndarray"), tuple(), str() | bytes()):
                return _empty()
            case "_create_array", (_Global("_reconstruct") as reconstruct, creation, state, None):
                array = self._reduce(reconstruct, creation)
                self._build(array, state)
                return array
            case "scalar", (_Dtype() as dtype, bytes() | str() as data):
                return self._fill(_empty(), (), dtype, False, _to_bytes(data))[()]
            case "_frombuffer", (bytes(data), _Dtype() as dtype, tuple(shape), str(order)):
                return self._fill(_empty(), shape, dtype, order == "F", data)
        raise ValueError(f"the arguments of {function.name} are not those of an array of numbers")

    def _ordered(self, pairs: list[Any]) -> dict[str, Any]:
        if not all(isinstance(p, list | tuple) and len(p) == 2 for p in pairs):
            raise ValueError("the pickle is damaged, an OrderedDict holds no pairs")
        self._push_dict([part for pair in pairs for part in pair])
        return self._stack.pop()

    def _build(self, target: Any, state: Any) -> None:
        """Stands in for `target.__setstate__(state)`."""
        match target, state:
            case np.ndarray(), (
                int(),
                tuple(shape),
                _Dtype() as dtype,
                int(fortran),
                bytes() | str() as data,
            ):
                self._fill(target, shape, dtype, bool(fortran), _to_bytes(data))
            case _Dtype(), (int(), str("<" | ">" | "=" | "|" as order), None, None, None, _, _, _):
                target.order = order
            case _:
                raise ValueError("the pickle sets the state of something else than a numeric array")

    def _fill(
        self, array: np.ndarray, shape: tuple, dtype: _Dtype, fortran: bool, data: bytes
    ) -> np.ndarray:
        """Turns `array` in place into the one described, so that all references see it."""
        numpy_dtype = np.dtype(dtype.order + dtype.code)
        # The product of very many sizes would take too long.
        if (
            len(shape) > _MAX_DIMENSIONS
            or not all(type(size) is int and size > 0 for size in shape)
            or math.prod(shape) * numpy_dtype.itemsize != len(data)
        ):
            raise ValueError("the shape of an array does not fit its data")
        state = (1, shape, numpy_dtype, fortran, self._spend(data))
        array.__setstate__(state)  # type: ignore[arg-type]  # An int is right, np.bool is refused.
        return array

    def _spend(self, data: bytes) -> bytes:
        """Bounds the bytes copied, since instructions of few bytes can copy long data again."""
        self._budget -= len(data)
        if self._budget < 0:
            raise ValueError(f"it unpacks to more than {MAX_BYTES} bytes")
        return data


def _instructions(data: bytes) -> Iterator[tuple[pickletools.OpcodeInfo, Any, int]]:
    """As `pickletools.genops`, which takes no bytes beyond ASCII in text of Python 2."""
    stream = io.BytesIO(data)
    while True:
        position = stream.tell()
        code = stream.read(1)
        if not code:
            raise ValueError("the pickle is exhausted before its end")
        opcode = _OPCODES.get(code.decode("latin1"))
        if opcode is None:
            raise ValueError(f"at position {position}, instruction {code!r} is unknown")
        argument = None
        if opcode.name == "STRING":
            text = pickletools.read_stringnl(stream, decode=False)
            argument = codecs.escape_decode(text)[0].decode("latin1")
        elif opcode.arg is not None:
            argument = opcode.arg.reader(stream)
        yield opcode, argument, position
        if opcode.name == "STOP":
            return


def _empty() -> np.ndarray:
    return np.ndarray(0, np.int8)


def _to_bytes(data: bytes | str) -> bytes:
    """The bytes of Python 2's text, which `pickletools` decodes as Latin-1."""
    return data.encode("latin1") if isinstance(data, str) else data


def _global(module: Any, name: Any) -> _Global:
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("the pickle imports something whose name is not a string")
    if name not in _NAMES.get(module, []):
        raise ValueError(f"it wants to run {f'{module}.{name}'[:80]!r}, which is not allowed")
    return _Global(name)


_CONTAINERS = {
    "EMPTY_LIST": lambda self: self._push_list([]),
    "LIST": lambda self: self._push_list(self._pop_to_mark()),
    "APPEND": lambda self: self._extend(self._pop(1)),
    "APPENDS": lambda self: self._extend(self._pop_to_mark()),
    "TUPLE": lambda self: self._push_tuple(self._pop_to_mark()),
    "TUPLE1": lambda self: self._push_tuple(self._pop(1)),
    "TUPLE2": lambda self: self._push_tuple(self._pop(2)),
    "TUPLE3": lambda self: self._push_tuple(self._pop(3)),
    "EMPTY_DICT": lambda self: self._push_dict([]),
    "DICT": lambda self: self._push_dict(self._pop_to_mark()),
    "SETITEM": lambda self: self._set_items(self._pop(2)),
    "SETITEMS": lambda self: self._set_items(self._pop_to_mark()),
}
