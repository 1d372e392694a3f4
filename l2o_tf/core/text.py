"""Text for people to read."""

import hashlib
from collections.abc import Sequence

_MOST_OF_FILE = 200  # File systems take 255, with the ending and what temporaries add.


def aligned(rows: Sequence[Sequence[str]], left: int = 0) -> list[str]:
    """Rows of cells as lines with aligned columns; the first `left` columns are left-justified."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]


def file_name(name: str) -> str:
    """The name; of one too long for a file's the beginning, and a digest of all."""
    if len(name) <= _MOST_OF_FILE:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name[: _MOST_OF_FILE - len(digest) - 1]}-{digest}"


def is_utf8(value: str) -> bool:
    """Whether it can be written; names in file systems, which take any bytes, may not be."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
