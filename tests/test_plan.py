"""Which sounds a call reads and how its files are called, known before anything is made."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hgs_cli.errors import HgsError, InputError, UsageError
from hgs_cli.plan import (
    SOUND_SUFFIXES,
    NoteKey,
    find_sources,
    layer_velocities,
    make_plan,
    parse_formats,
)


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def found(*arguments: str | Path, recursive: bool = False, stdin: str = "") -> list[tuple[str, str, str]]:
    sources, _ = find_sources([Path(one) for one in arguments], recursive, io.StringIO(stdin), SOUND_SUFFIXES)
    return [(source.path.name, str(source.folder), source.name) for source in sources]


# --- what is read ---------------------------------------------------------------------------------------------------


def test_a_folder_stands_for_its_sounds_in_order_and_nothing_else(tmp_path: Path) -> None:
    touch(tmp_path, "b.wav", "a.FLAC", "notes.txt", ".hidden.wav", "deep/c.wav")
    assert found(tmp_path) == [("a.FLAC", ".", "a"), ("b.wav", ".", "b")]


def test_recursive_keeps_the_tree_below_the_folder(tmp_path: Path) -> None:
    touch(tmp_path, "kick.wav", "drums/kick.wav", "drums/loud/kick.wav", ".git/x.wav")
    assert found(tmp_path, recursive=True) == [
        ("kick.wav", ".", "kick"),
        ("kick.wav", "drums", "kick"),
        ("kick.wav", "drums/loud", "kick"),
    ]


def test_stdin_gives_paths_by_line_or_by_nul(tmp_path: Path) -> None:
    touch(tmp_path, "a b.wav", "ü\nx.wav")
    one, two = tmp_path / "a b.wav", tmp_path / "ü\nx.wav"
    assert [name for name, _, _ in found("-", stdin=f"{one}\n")] == ["a b.wav"]
    nul, _ = find_sources([Path("-")], False, io.StringIO(f"{one}\0{two}\0", newline=""), SOUND_SUFFIXES)
    assert [source.path.name for source in nul] == ["a b.wav", "ü\nx.wav"]


def test_only_one_sound_given_by_itself_is_alone(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    for argument, alone in ((tmp_path / "a.wav", True), (tmp_path, False)):
        assert find_sources([argument], False, io.StringIO(), SOUND_SUFFIXES)[1] is alone


def test_the_same_sound_twice_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.wav")
    monkeypatch.chdir(tmp_path)
    assert found("a.wav", tmp_path / "a.wav", ".") == [("a.wav", ".", "a")]


def test_two_sounds_of_one_stem_never_share_a_name(tmp_path: Path) -> None:
    touch(tmp_path, "one/kick.wav", "two/kick.wav", "kick.wav", "kick.flac", "Kick.aiff")
    assert [name for _, _, name in found(tmp_path)] == ["Kick-aiff", "kick-flac", "kick-wav"]
    assert [name for _, _, name in found(tmp_path / "one/kick.wav", tmp_path / "two/kick.wav")] == [
        "one-kick",
        "two-kick",
    ]


def test_a_name_made_to_tell_two_sounds_apart_does_not_hit_a_third(tmp_path: Path) -> None:
    touch(tmp_path, "kick.wav", "kick.flac", "kick-wav.ogg")
    names = [name for _, _, name in found(tmp_path)]
    assert len(set(names)) == 3


def test_an_empty_folder_and_an_empty_stdin_are_said(tmp_path: Path) -> None:
    touch(tmp_path, "deep/c.wav")
    with pytest.raises(InputError, match="--recursive"):
        found(tmp_path)
    with pytest.raises(UsageError, match="no sound"):
        found("-")


@given(st.lists(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=6), max_size=8))
def test_any_file_names_get_names_that_differ_even_without_case(stems: list[str]) -> None:
    paths = [Path(f"/x{index % 3}/{stem}.wav") for index, stem in enumerate(stems) if stem not in (".", "..", "-")]
    if not paths:
        return
    sources, _ = find_sources(paths, False, io.StringIO(), SOUND_SUFFIXES)
    folded = [source.name.casefold() for source in sources]
    assert len(set(folded)) == len(folded) == len({os.path.abspath(path) for path in paths})


# --- what is written ------------------------------------------------------------------------------------------------


def test_formats_are_read_once_and_lists_of_samples_bring_some() -> None:
    assert parse_formats("flac, wav,.FLAC") == ("flac", "wav")
    assert parse_formats("sfz") == ("wav", "sfz")
    assert parse_formats("aiff,dspreset") == ("aiff", "dspreset")
    assert parse_formats("sf2") == ("sf2",)
    for bad in ("mp3", "", ",", "wav;flac"):
        with pytest.raises(UsageError):
            parse_formats(bad)


def test_layers_share_the_velocities_without_gap_or_overlap() -> None:
    for layers in range(1, 9):
        spans = layer_velocities(layers)
        assert [velocity for low, high in spans for velocity in range(low, high + 1)] == list(range(1, 128))


def test_notes_and_instruments_are_named_for_the_sound() -> None:
    plan = make_plan(Path("out"), "kick", [60.0, 60.5], ("wav", "flac", "sfz"), {"audition": ".html"})
    assert [str(path) for path in plan.files] == [
        "out/kick_060_C4.wav", "out/kick_060_C4.flac", "out/kick_060_C4p50.wav", "out/kick_060_C4p50.flac",
        "out/kick.sfz", "out/kick.html",
    ]  # fmt: skip


def test_a_template_names_the_files() -> None:
    plan = make_plan(
        Path("o"), "ki ck", [61.25], ("wav",), {}, 2, "{note}/{stem}-{midi:04d}+{cents}_{layer}of{velocity}.wav"
    )
    assert [str(one["wav"]) for one in plan.notes.values()] == [
        "o/Cs4p25/ki ck-0061+25_1of64.wav", "o/Cs4p25/ki ck-0061+25_2of127.wav",
    ]  # fmt: skip
    assert plan.notes[NoteKey(61.25, 1)]["wav"].name.endswith("127.wav")


@pytest.mark.parametrize(
    "template",
    ["../{midi}", "/tmp/{midi}", "a/../../{midi}", "{midi}/", "{midi", "{}", "{0}", "{stem.__class__}", "{midi!r}",
     "{midi:0999999999d}", "{nothing}", "{stem}", "a" * 300 + "{midi}", "{midi:x}{midi:q}", "{midi}//{note}",
     "\0{midi}", "{stem:>9}{midi}", "./{midi}"],
)  # fmt: skip
def test_a_template_that_makes_no_sense_or_leaves_the_folder_is_refused(template: str) -> None:
    with pytest.raises(UsageError):
        make_plan(Path("out"), "kick", [60.0, 61.0], ("wav",), {}, 1, template)


@given(st.text(max_size=40))
def test_any_template_is_one_inside_the_folder_or_a_usage_error(template: str) -> None:
    try:
        plan = make_plan(Path("/out"), "kick", [60.0, 61.0], ("wav",), {}, 1, template or None)
    except HgsError:
        return
    for path in plan.files:
        assert os.path.normpath(path).startswith("/out/")
    assert len(set(plan.files)) == 2
