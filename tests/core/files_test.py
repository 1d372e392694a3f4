"""Files that are there whole or not at all."""

import os
import stat

import numpy as np
import pytest

from l2o_tf.core import errors, files


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    files.write_atomically(path, b"old")

    def disk_full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(errors.InputError, match=f"^cannot write {path}: No space left on device$"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_can_be_read_by_others(tmp_path):
    files.write_atomically(tmp_path / "new" / "file", b"x")
    assert stat.S_IMODE((tmp_path / "new" / "file").stat().st_mode) == 0o644


def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.InputError, match="cannot write .*file/below"):
        files.write_atomically(tmp_path / "file" / "below", b"x")


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_survive_bit_by_bit(tmp_path, compressed):
    arrays = {"a/b": np.float32([[1, np.nan]]), "scalar": np.int32(3)}
    files.write_arrays(tmp_path / "a.npz", arrays, compressed)
    loaded = files.read_arrays(tmp_path / "a.npz")
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        assert loaded[name].dtype == array.dtype
        assert loaded[name].tobytes() == array.tobytes()


def test_pickled_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{}], dtype=object))
    with pytest.raises(errors.InputError, match="cannot read arrays from .*a.npz"):
        files.read_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_damaged_json_is_reported(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(errors.InputError, match="cannot read .*a.json"):
        files.read_json(tmp_path / "a.json")
