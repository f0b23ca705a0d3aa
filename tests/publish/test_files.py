import errno
from pathlib import Path

import pytest

from pipelines.system import files
from pipelines.system.files import link_or_copy, sha256_of, temporary_path, write_atomically, write_failure

pytestmark = pytest.mark.fast


def test_write_atomically_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"something longer than the new content")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_write_atomically_leaves_the_old_file_when_the_rename_fails(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    (target / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        write_atomically(target, b"new")
    assert (target / "inside").is_dir()
    assert not temporary_path(target).exists()


def test_link_or_copy_links_and_copies_where_links_are_refused(tmp_path: Path, monkeypatch) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"x")
    assert link_or_copy(source, tmp_path / "b")
    assert (tmp_path / "b").stat().st_ino == source.stat().st_ino

    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(errno.EXDEV, "another device")

    monkeypatch.setattr(files.Path, "hardlink_to", refuse)
    assert not link_or_copy(source, tmp_path / "c")
    assert (tmp_path / "c").stat().st_ino != source.stat().st_ino
    assert (tmp_path / "c").read_bytes() == b"x"


def test_link_or_copy_does_not_overwrite(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").write_bytes(b"y")
    with pytest.raises(FileExistsError):
        link_or_copy(tmp_path / "a", tmp_path / "b")


def test_a_full_disk_names_the_way_out() -> None:
    assert "free space" in write_failure("x", OSError(errno.ENOSPC, "x", "/e/f")).fix
    assert "free space" not in write_failure("x", OSError(errno.EACCES, "x", "/e/f")).fix


def test_sha256_of_a_known_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
