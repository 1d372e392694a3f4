"""Reads the files of TensorFlow 1 checkpoints, whatever is in them.

TensorFlow's own reader is not used: a damaged or crafted index makes it abort the process.

`PREFIX.index` is a table of LevelDB's format from names to protocol buffers that say where in
`PREFIX.data-SHARD-of-SHARDS` the numbers are.
Source: TensorFlow's `tensor_bundle.h`, LevelDB's `doc/table_format.md`.
"""

import math
import os
import struct
from collections.abc import Callable, Iterator

import numpy as np
from tensorflow.core.protobuf import tensor_bundle_pb2

_MAGIC = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
_FOOTER_BYTES = 48
_TRAILER_BYTES = 5  # Of a block: the kind of compression and a checksum.
_MAX_INDEX_BYTES = 2**26
_MAX_DATA_BYTES = 2**31
_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}  # By the number in types.proto.


def read(prefix: str | os.PathLike, wanted: Callable[[str], bool]) -> dict[str, np.ndarray]:
    """Reads the numeric variables of a checkpoint.

    Args:
        prefix: the common beginning of its files.
        wanted: says by their names which variables to read.

    Raises:
        OSError: if a file cannot be opened.
        ValueError: if a file is damaged or of a kind that TensorFlow 1 did not write.
    """
    prefix = os.fspath(prefix)
    with open(f"{prefix}.index", "rb") as file:
        index = file.read(_MAX_INDEX_BYTES + 1)
    if len(index) > _MAX_INDEX_BYTES:
        raise ValueError(f"the index is larger than {_MAX_INDEX_BYTES} bytes")
    try:
        entries = dict(_table(index))
        header = _parse(tensor_bundle_pb2.BundleHeaderProto, entries.pop(b"", b""))
        if header.endianness != tensor_bundle_pb2.BundleHeaderProto.LITTLE:
            raise ValueError("it was written on a big-endian machine")
        found = {}
        for key, value in entries.items():
            name = key.decode()
            if wanted(name):
                entry = _parse(tensor_bundle_pb2.BundleEntryProto, value)
                found[name] = _tensor(prefix, header.num_shards, name, entry)
        return found
    except (struct.error, IndexError) as error:
        raise ValueError("the index is damaged") from error


def _parse(kind, data: bytes):
    try:
        return kind.FromString(data)
    except Exception as error:  # Of a type in a package that TensorFlow brings, google.protobuf.
        raise ValueError("the index is damaged") from error


def _tensor(prefix: str, num_shards: int, name: str, entry) -> np.ndarray:
    shape = tuple(dim.size for dim in entry.shape.dim)
    if entry.dtype not in _DTYPES or entry.slices or min(shape, default=0) < 0:
        raise ValueError(f"{name} is no plain array of numbers")
    dtype = np.dtype(_DTYPES[entry.dtype])
    if len(shape) > 32 or math.prod(shape) * dtype.itemsize != entry.size:
        raise ValueError(f"{name} has the wrong size")
    if entry.size > _MAX_DATA_BYTES or not 0 <= entry.shard_id < num_shards or entry.offset < 0:
        raise ValueError(f"{name} is nowhere")
    with open(f"{prefix}.data-{entry.shard_id:05d}-of-{num_shards:05d}", "rb") as file:
        if entry.offset + entry.size > os.fstat(file.fileno()).st_size:
            raise ValueError(f"the data end before {name}")
        file.seek(entry.offset)
        data = file.read(entry.size)
    if _masked_checksum(data) != entry.crc32c:
        raise ValueError(f"{name} is damaged")
    return np.frombuffer(data, dtype).reshape(shape)


def _table(index: bytes) -> Iterator[tuple[bytes, bytes]]:
    """All entries of a table: a block at the end tells where the other blocks are."""
    footer = index[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or not footer.endswith(_MAGIC):
        raise ValueError("it is no index of a checkpoint")
    _, position = _handle(footer, 0)
    blocks, _ = _handle(footer, position)
    for _, value in _block(index, blocks):
        yield from _block(index, _handle(value, 0)[0])


def _block(index: bytes, handle: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    offset, size = handle
    block = index[offset : offset + size]
    trailer = index[offset + size : offset + size + _TRAILER_BYTES]
    kind, checksum = struct.unpack("<BI", trailer)
    if kind != 0:
        raise ValueError("the index is compressed")
    if _masked_checksum(index[offset : offset + size + 1]) != checksum:
        raise ValueError("the index is damaged")
    (num_restarts,) = struct.unpack("<I", block[-4:])
    end, position, key = size - 4 - 4 * num_restarts, 0, b""
    while position < end:
        shared, position = _varint(block, position)
        unshared, position = _varint(block, position)
        length, position = _varint(block, position)
        if shared > len(key) or position + unshared + length > end:
            raise ValueError("the index is damaged")
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + length]
        position += length


def _handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    offset, position = _varint(data, position)
    size, position = _varint(data, position)
    return (offset, size), position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("the index is damaged")


def _checksums() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)  # Castagnoli's polynomial.
        table.append(byte)
    return table


_TABLE = _checksums()


def _masked_checksum(data: bytes) -> int:
    checksum = 0xFFFFFFFF
    for byte in data:
        checksum = _TABLE[(checksum ^ byte) & 0xFF] ^ (checksum >> 8)
    checksum ^= 0xFFFFFFFF
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF
