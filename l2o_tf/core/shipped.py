"""Files of the repository that come with the package: flagfiles and published curves.

They live at the top of the repository. The build copies them into the package (see setup.py), so
that an installed wheel has them; a checkout, an editable install and Bazel use them where they are.
"""

import pathlib

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]
_COPIES = _PACKAGE / "shipped"  # Only in a wheel.
FOLDERS = {"flags": pathlib.Path("flags"), "published": pathlib.Path("data", "published")}


def folder(name: str) -> pathlib.Path:
    """Where the files of "flags" or "published" are, which may not exist."""
    copies = _COPIES / name
    return copies if copies.is_dir() else _PACKAGE.parent / FOLDERS[name]


def flagfiles() -> dict[str, pathlib.Path]:
    """The flagfiles by name, such as "l2o_dm_cl_il"."""
    return {path.stem: path for path in sorted(folder("flags").glob("*.flags"))}
