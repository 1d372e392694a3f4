"""Runs pytest on its arguments: the main program of every Bazel test."""

import os
import sys

import pytest


def main(arguments: list[str]) -> int:
    """Returns the exit code of pytest, and 0 where all tests of a file are marked as slow."""
    scratch = os.path.join(os.environ["TEST_TMPDIR"], "pytest")
    code = pytest.main([*arguments, "-p", "no:cacheprovider", f"--basetemp={scratch}"])
    return 0 if code == pytest.ExitCode.NO_TESTS_COLLECTED else int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
