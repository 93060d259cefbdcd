"""Files appear whole or not at all, and nothing of the user's is overwritten unasked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hgs_cli.errors import OutputError
from hgs_cli.files.atomic import OutputSet, check_targets


def write_text(text: str):  # type: ignore[no-untyped-def]
    return lambda path: path.write_text(text)


def test_files_appear_together_at_the_end_in_new_folders(tmp_path: Path) -> None:
    targets = [tmp_path / "a" / "b" / "one.wav", tmp_path / "a" / "two.wav"]
    with OutputSet(targets, force=False) as outputs:
        for target in targets:
            outputs.write(target, write_text(target.stem))
        assert not any(target.exists() for target in targets)
    assert [target.read_text() for target in targets] == ["one", "two"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "one.wav", "two.wav"]


def test_a_failure_leaves_neither_files_nor_folders(tmp_path: Path) -> None:
    target = tmp_path / "new" / "one.wav"
    with pytest.raises(KeyboardInterrupt), OutputSet([target], force=False) as outputs:
        outputs.write(target, write_text("half"))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    old, new = tmp_path / "old.wav", tmp_path / "sub" / "new.wav"
    old.write_text("mine")
    with pytest.raises(OutputError, match="--force"), OutputSet([new, old], force=False):
        pytest.fail("the body must not run")
    assert old.read_text() == "mine"
    assert not new.parent.exists()


def test_force_overwrites(tmp_path: Path) -> None:
    target = tmp_path / "one.wav"
    target.write_text("old")
    with OutputSet([target], force=True) as outputs:
        outputs.write(target, write_text("new"))
    assert target.read_text() == "new"


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "one.wav"
    with pytest.raises(OutputError), OutputSet([target], force=False) as outputs:
        outputs.write(target, write_text("ours"))
        target.write_text("theirs")
    assert target.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_is_never_replaced_by_a_file(tmp_path: Path, force: bool) -> None:
    (tmp_path / "one.wav").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        check_targets([tmp_path / "one.wav"], force)


def test_a_file_where_a_folder_is_needed_is_named(tmp_path: Path) -> None:
    (tmp_path / "snare").write_text("a file")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        check_targets([tmp_path / "snare" / "deep" / "one.wav"], force=False)


def test_a_dangling_link_counts_as_existing(tmp_path: Path) -> None:
    (tmp_path / "one.wav").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="exists"):
        check_targets([tmp_path / "one.wav"], force=False)


def test_a_full_disk_is_an_output_error_and_leaves_nothing(tmp_path: Path) -> None:
    def full(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    target = tmp_path / "one.wav"
    with pytest.raises(OutputError, match="no space left"), OutputSet([target], force=False) as outputs:
        outputs.write(target, full)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot write to folder"), OutputSet([tmp_path / "one.wav"], force=False):
        pytest.fail("the body must not run")


def test_a_folder_that_cannot_be_made_is_named() -> None:
    with (
        pytest.raises(OutputError, match="cannot write to folder"),
        OutputSet([Path("/proc/hgs/one.wav")], force=False),
    ):
        pytest.fail("the body must not run")


def test_results_have_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    target, plain = tmp_path / "one.wav", tmp_path / "plain"
    plain.touch()
    with OutputSet([target], force=False) as outputs:
        outputs.write(target, write_text("x"))
    assert target.stat().st_mode == plain.stat().st_mode
