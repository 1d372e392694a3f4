"""Files that are there whole or not at all."""

import errno
import fcntl
import os
import stat

import numpy as np
import pytest

from l2o_tf.core import errors, file_system, files


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


@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_says_who_may_read_a_file(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        files.write_atomically(tmp_path / "new" / "file", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new" / "file").stat().st_mode) == mode


def test_an_interrupt_after_the_file_is_in_place_leaves_it_there(tmp_path, monkeypatch):
    replace = os.replace

    def interrupted(source, target):
        replace(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(tmp_path / "file", b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"new"]


def test_what_a_kill_leaves_is_removed_and_nothing_else(tmp_path):
    names = [".l2o-00ff.tmp", ".l2o-notes", "run.tmp", ".hidden"]
    for name in names:
        (tmp_path / name).touch()
    files.remove_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(names[1:])
    files.remove_temporaries(tmp_path / "absent")


@pytest.mark.parametrize("moment", ["fsync", "close"])
def test_what_a_living_process_writes_is_not_removed(tmp_path, monkeypatch, moment):
    system_call, removals = getattr(os, moment), []

    def meanwhile(descriptor):
        if not removals:  # It closes files itself.
            removals.append(descriptor)
            files.remove_temporaries(tmp_path)
        system_call(descriptor)

    monkeypatch.setattr(os, moment, meanwhile)
    files.write_atomically(tmp_path / "file", b"new")
    assert removals and [path.read_bytes() for path in tmp_path.iterdir()] == [b"new"]


def test_a_file_that_is_removed_before_it_is_locked_is_written_anew(tmp_path, monkeypatch):
    class Slow(file_system.System):
        calls = 0

        def lock(self, descriptor, wait=False):
            if wait:
                self.calls += 1
                if self.calls == 1:
                    files.remove_temporaries(tmp_path)
            return super().lock(descriptor, wait)

    monkeypatch.setattr(files, "system", Slow())
    files.write_atomically(tmp_path / "file", b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"new"]
    assert files.system.calls == 2


def test_what_is_locked_may_be_written_as_nfs_wants_it(tmp_path, monkeypatch):
    class Nfs(file_system.System):
        def lock(self, descriptor, wait=False):
            if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            return super().lock(descriptor, wait)

    (tmp_path / ".l2o-00ff.tmp").touch()
    monkeypatch.setattr(files, "system", Nfs())
    files.remove_temporaries(tmp_path)
    files.write_atomically(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_without_locks_files_are_written_and_none_is_taken_for_abandoned(tmp_path, monkeypatch):
    monkeypatch.setattr(file_system, "fcntl", None)
    files.write_atomically(tmp_path / "file", b"new")
    (tmp_path / ".l2o-00ff.tmp").touch()
    files.remove_temporaries(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".l2o-00ff.tmp", "file"]


def test_text_that_is_none(tmp_path):
    (tmp_path / "file").write_bytes("é".encode())
    assert files.read_text(tmp_path / "file") == "é"
    (tmp_path / "file").write_bytes(b"\xff")
    with pytest.raises(errors.InputError, match="cannot read .*file: "):
        files.read_text(tmp_path / "file")


def test_a_growing_file_is_written_at_its_end(tmp_path):
    for text in (b"one\n", b"two\n"):
        file = files.GrowingFile(tmp_path / "new" / "log")
        file.add(text)
        file.sync()
        file.close()
        file.close()
    assert (tmp_path / "new" / "log").read_bytes() == b"one\ntwo\n"
    with pytest.raises(errors.InputError, match=f"cannot write {tmp_path}: Is a directory"):
        files.GrowingFile(tmp_path)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_path_that_the_system_refuses_is_one_line(tmp_path, name):
    assert files.matching(tmp_path / name, "*") == []
    files.remove_temporaries(tmp_path / name)
    for function in (files.read_bytes, files.read_json, files.read_text, files.GrowingFile):
        with pytest.raises(errors.InputError, match="cannot (read|write) "):
            function(tmp_path / name)
    with pytest.raises(errors.InputError, match="cannot write "):
        files.write_atomically(tmp_path / name / "below", b"")
    assert not any(is_there(tmp_path / name) for is_there in (files.exists, files.is_dir))
    assert not files.exists(tmp_path / "absent" / "below")


@pytest.mark.parametrize("value", [float("nan"), [float("inf")]])
def test_numbers_that_json_lacks_are_not_written(tmp_path, value):
    with pytest.raises(errors.InputError, match="cannot write .*a.json: "):
        files.write_json(tmp_path / "a.json", value)
    assert not list(tmp_path.iterdir())


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


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"NaN", b"[-Infinity]", b"1e999", b"[" * 10**5, b"9" * 10**4]
)
def test_damaged_json_is_reported(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(errors.InputError, match="cannot read .*a.json"):
        files.read_json(tmp_path / "a.json")


def test_what_is_there(tmp_path):
    (tmp_path / "file").write_text("")
    assert files.exists(tmp_path) and files.is_dir(tmp_path) and not files.is_file(tmp_path)
    path = tmp_path / "file"
    assert files.exists(path) and files.is_file(path) and not files.is_dir(path)
    for absent in ("a" * 300, "a\0b", "x/" * 3000, path / "below"):
        assert not files.exists(absent) and not files.is_file(absent) and not files.is_dir(absent)


def test_what_the_system_does_not_say(monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(errors.InputError, match="^cannot use x: Permission denied$"):
        files.exists("x")


def test_a_directory_that_may_not_be_listed_is_not_an_empty_one(tmp_path, monkeypatch):
    for name in ("closed", "open"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").touch()
    listed = os.scandir

    def refuse(path):
        if os.path.basename(path) == "closed":
            raise PermissionError(errno.EACCES, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    refusal = f"^cannot use {tmp_path / 'closed'}: Permission denied$"
    for ask in (lambda path: files.matching(path, "*"), files.is_taken):
        with pytest.raises(errors.InputError, match=refusal):
            ask(tmp_path / "closed")
    assert files.matching(tmp_path, "*") == [tmp_path / "closed", tmp_path / "open"]
    assert tmp_path / "open" / "x" in files.matching(tmp_path, "*/*")
    assert files.matching(tmp_path / "absent", "*") == []
    assert files.matching(tmp_path / "open" / "x", "*") == []


def test_arrays_that_unpack_to_too_much_are_refused_unread(tmp_path, monkeypatch):
    files.write_arrays(tmp_path / "x.npz", {"a": np.zeros(10**6)}, compressed=True)
    assert files.read_array_headers(tmp_path / "x.npz") == {"a": ((10**6,), np.dtype(float))}
    monkeypatch.setattr(files, "MAX_ARRAY_BYTES", 10**6)
    monkeypatch.setattr(np, "load", None)
    with pytest.raises(errors.InputError, match="are larger than 1000000 bytes"):
        files.read_arrays(tmp_path / "x.npz")


@pytest.mark.parametrize(
    "content", ["[" * 10**5, "[1e999]", "[NaN]", "[-Infinity]", "[1" + "0" * 5000 + "]"]
)
def test_json_that_python_takes_and_others_do_not(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(errors.InputError, match="cannot read") as caught:
        files.read_json(tmp_path / "x.json")
    assert len(str(caught.value)) < 300
