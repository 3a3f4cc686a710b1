"""Files are written whole or not at all, and what cannot be written is said with its remedy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from verify.errors import UsageError
from verify.files import replacing, write_text


def test_a_new_file_and_its_folders_are_made(tmp_path: Path) -> None:
    """Folders on the way need not exist."""
    path = write_text(tmp_path / "a" / "b" / "report.html", "page\n", durable=True)
    assert "page\n" == path.read_text(encoding="utf-8")


def test_an_old_file_is_replaced(tmp_path: Path) -> None:
    """The second report stands, and nothing else is left in the folder."""
    write_text(tmp_path / "r.csv", "a much longer first report")
    write_text(tmp_path / "r.csv", "second")
    assert [("r.csv", "second")] == [(p.name, p.read_text(encoding="utf-8")) for p in tmp_path.iterdir()]


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """Half a report is never seen: the old one stays, the temporary one goes."""
    path = write_text(tmp_path / "r.csv", "old")

    def fail_half_way() -> None:
        with replacing(path) as file:
            file.write("half of the n")
            message = "the renderer stopped"
            raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="the renderer stopped"):
        fail_half_way()
    assert [("r.csv", "old")] == [(p.name, p.read_text(encoding="utf-8")) for p in tmp_path.iterdir()]


def test_the_old_file_stands_until_the_block_ends(tmp_path: Path) -> None:
    """Whoever reads meanwhile sees the old report."""
    path = write_text(tmp_path / "r.csv", "old")
    with replacing(path) as file:
        file.write("new")
        file.flush()
        assert "old" == path.read_text(encoding="utf-8")
    assert "new" == path.read_text(encoding="utf-8")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error while the bytes go to the disk is the user's to mend, and costs no report."""
    path = write_text(tmp_path / "r.csv", "old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match=r"cannot write .*r\.csv: No space left on device"):
        write_text(path, "new", durable=True)
    assert [("r.csv", "old")] == [(p.name, p.read_text(encoding="utf-8")) for p in tmp_path.iterdir()]


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    """The message says which part of the path is a file."""
    (tmp_path / "reports").write_text("I am a file", encoding="utf-8")
    with pytest.raises(UsageError, match=r"expected .*reports to be a folder, got a file\. Name another folder"):
        write_text(tmp_path / "reports" / "sub" / "r.csv", "new")


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    """The message says that the target is a folder, and nothing is left beside it."""
    (tmp_path / "r.csv").mkdir()
    with pytest.raises(UsageError, match=r"expected the name of a file, got a folder"):
        write_text(tmp_path / "r.csv", "new")
    assert ["r.csv"] == [p.name for p in tmp_path.iterdir()]


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message gives the system's reason and what to do."""

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UsageError, match=r"Permission denied\. Make the folder .* writable, or name another"):
        write_text(tmp_path / "r.csv", "new")


def test_the_file_mode_is_that_of_any_other_file(tmp_path: Path) -> None:
    """A report may be read by whoever may read the user's other files, not by its owner alone."""
    plain = tmp_path / "plain"
    plain.write_text("", encoding="utf-8")
    assert plain.stat().st_mode == write_text(tmp_path / "report", "").stat().st_mode


def test_text_that_utf8_cannot_hold_is_written_as_its_escape(tmp_path: Path) -> None:
    """A lone surrogate in a name does not cost the report."""
    assert "a\\ud800b" == write_text(tmp_path / "r.csv", "a\ud800b").read_text(encoding="utf-8")
