"""Copies the repository's flagfiles and published curves into a built package.

All else is in pyproject.toml. See l2o_tf/core/shipped.py for how they are found.
"""

import pathlib

import setuptools
from setuptools.command import build_py

COPIES = {"flags": "flags/*.flags", "published": "data/published/*.csv"}


class BuildWithShippedFiles(build_py.build_py):
    """Adds the copies; an editable install uses the originals."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        root = pathlib.Path(__file__).resolve().parent
        for name, pattern in COPIES.items():
            target = pathlib.Path(self.build_lib, "l2o_tf", "shipped", name)
            target.mkdir(parents=True, exist_ok=True)
            for path in sorted(root.glob(pattern)):
                self.copy_file(str(path), str(target / path.name))


setuptools.setup(cmdclass={"build_py": BuildWithShippedFiles})
