"""Which sounds a call reads and how its files are called, known before anything is made."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hgs_cli.errors import HgsError, InputError, UsageError
from hgs_cli.export.naming import PlanOptions, layer_velocities, make_plan, parse_formats
from hgs_cli.export.sources import LISTENED_SUFFIXES, find_sources
from hgs_cli.pitch import NoteKey


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def found(*arguments: str | Path, recursive: bool = False, stdin: str = "") -> list[tuple[str, str, str]]:
    sources, _ = find_sources(
        [Path(one) for one in arguments], recursive, io.BytesIO(os.fsencode(stdin)), LISTENED_SUFFIXES
    )
    return [(source.path.name, str(source.folder), source.name) for source in sources]


# --- what is read ---------------------------------------------------------------------------------------------------


def test_a_folder_stands_for_its_sounds_in_order_and_nothing_else(tmp_path: Path) -> None:
    touch(tmp_path, "b.wav", "a.FLAC", "notes.txt", ".hidden.wav", "deep/c.wav")
    assert found(tmp_path) == [("a.FLAC", ".", "a"), ("b.wav", ".", "b")]


@pytest.mark.parametrize("suffix", "wav flac aif aiff aifc ogg oga opus mp3 caf au w64 m4a aac wma wv".split())
def test_a_folder_is_searched_for_every_kind_of_sound(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path, f"a.{suffix}")
    assert found(tmp_path) == [(f"a.{suffix}", ".", "a")]


def test_a_folder_that_may_not_be_entered_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.wav", "closed/b.wav")
    scan = os.scandir

    def closed(path: str | Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(InputError, match="closed cannot be read: permission denied"):
        found(tmp_path, recursive=True)


def test_folders_of_folders_are_read_in_order(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/x.wav" for name in "cfaebd"))
    assert [folder for _, folder, _ in found(tmp_path, recursive=True)] == list("abcdef")


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
    nul, _ = find_sources([Path("-")], False, io.BytesIO(f"{one}\0{two}\0".encode()), LISTENED_SUFFIXES)
    assert [source.path.name for source in nul] == ["a b.wav", "ü\nx.wav"]


def test_only_one_sound_given_by_itself_is_alone(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    listed = io.BytesIO(bytes(tmp_path / "a.wav"))
    for argument, alone in ((tmp_path / "a.wav", True), (tmp_path, False), (Path("-"), False)):
        assert find_sources([argument], False, listed, LISTENED_SUFFIXES)[1] is alone


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


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/one/kick.wav", "/two/kick.flac"], ["kick-wav", "kick-flac"]),  # shorter than their folders
        (["/one/a/kick.wav", "/two/a/kick.wav"], ["one-a-kick", "two-a-kick"]),
        (["/d/kick.wav", "/e/f/d/kick.wav", "/g/f/d/kick.wav"], ["d-kick", "e-f-d-kick", "g-f-d-kick"]),
        (["/kick.wav", "/x/kick.wav"], ["kick", "x-kick"]),
        (["/x/Kick.wav", "/x/kick.wav"], ["Kick-wav", "kick-wav-2"]),
        (["/x/...wav", "/x/....", "/y/a.wav"], ["wav", "sound", "a"]),
    ],
)
def test_sounds_of_one_stem_are_told_apart_by_suffix_or_folder(paths: list[str], names: list[str]) -> None:
    assert [name for _, _, name in found(*paths)] == names


def test_a_name_made_to_tell_two_sounds_apart_does_not_hit_a_third(tmp_path: Path) -> None:
    touch(tmp_path, "kick.wav", "kick.flac", "kick-wav.ogg")
    assert [name for _, _, name in found(tmp_path)] == ["kick-wav", "kick-flac", "kick-wav-2"]
    touch(tmp_path, "low/kick.wav", "low/kick.flac", "low/kick-wav.ogg")  # files of another folder take no name
    assert [name for _, _, name in found(tmp_path, recursive=True)] == 2 * ["kick-wav", "kick-flac", "kick-wav-2"]
    alike = ["/p/a-b-c.wav", "/a/b-c.wav", "/z/b-c.wav", "/a-b/c.wav", "/y/c.wav"]
    assert [name for _, _, name in found(*alike)] == ["a-b-c", "a-b-c-2", "z-b-c", "a-b-c-3", "y-c"]


def test_an_empty_folder_and_an_empty_stdin_are_said(tmp_path: Path) -> None:
    touch(tmp_path, "deep/c.wav")
    with pytest.raises(InputError, match="--recursive"):
        found(tmp_path)
    touch(tmp_path, "empty/notes.txt")
    with pytest.raises(InputError, match=r"holds no sounds — give one with sound files in it$"):
        found(tmp_path / "empty", recursive=True)
    with pytest.raises(UsageError, match="no sound"):
        found("-")


@given(st.lists(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=6), max_size=8))
def test_any_file_names_get_names_that_differ_even_without_case(stems: list[str]) -> None:
    paths = [Path(f"/x{index % 3}/{stem}.wav") for index, stem in enumerate(stems) if stem not in (".", "..", "-")]
    if not paths:
        return
    sources, _ = find_sources(paths, False, io.BytesIO(), LISTENED_SUFFIXES)
    folded = [source.name.casefold() for source in sources]
    assert len(set(folded)) == len(folded) == len({os.path.abspath(path) for path in paths})


# --- what is written ------------------------------------------------------------------------------------------------


def test_formats_are_read_once_and_lists_of_samples_bring_some() -> None:
    assert parse_formats("flac, wav,.FLAC") == ("flac", "wav")
    assert parse_formats("wav, ,flac,") == ("wav", "flac")
    assert parse_formats("sfz") == ("wav", "sfz")
    assert parse_formats("dspreset") == ("wav", "dspreset")
    assert parse_formats("sf2,sfz") == ("wav", "sf2", "sfz")
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
    plan = make_plan(Path("out"), "kick", PlanOptions([60.0, 60.5], ("wav", "flac", "sfz"), {"audition": ".html"}))
    assert [str(path) for path in plan.files] == [
        "out/kick_060_C4.wav", "out/kick_060_C4.flac", "out/kick_060_C4p50.wav", "out/kick_060_C4p50.flac",
        "out/kick.sfz", "out/kick.html",
    ]  # fmt: skip


def test_every_format_has_the_suffix_that_programs_know() -> None:
    plan = make_plan(
        Path("o"), "a", PlanOptions([60.0], ("wav", "flac", "aiff", "sfz", "dspreset", "sf2"), template="n")
    )
    assert [path.name for path in plan.files] == ["n.wav", "n.flac", "n.aiff", "a.sfz", "a.dspreset", "a.sf2"]


def test_layers_are_numbered_from_the_softest() -> None:
    plan = make_plan(Path("o"), "kick", PlanOptions([60.0], ("wav",), layers=2))
    assert [path.name for path in plan.files] == ["kick_060_C4_v1.wav", "kick_060_C4_v2.wav"]


def test_a_name_for_two_notes_is_refused_with_what_would_tell_them_apart() -> None:
    with pytest.raises(UsageError, match=r"add \{midi\} or \{note\}"):
        make_plan(Path("o"), "kick", PlanOptions([60.0, 61.0], ("wav",), {}, 2, "{layer}"))
    with pytest.raises(UsageError, match=r"add \{layer\}"):
        make_plan(Path("o"), "kick", PlanOptions([60.0, 61.0], ("wav",), {}, 2, "{midi}"))
    plan = make_plan(Path("o"), "kick", PlanOptions([60.0, 61.0], ("sf2",), {}, 1, "{stem}"))
    assert plan.files == [Path("o/kick.sf2")]


def test_names_are_as_long_as_file_systems_allow_with_room_for_a_suffix_and_no_longer() -> None:
    assert make_plan(Path("o"), "kick", PlanOptions([60.0], ("wav",), {}, 1, "a" * 245)).files
    with pytest.raises(UsageError, match="over 245 bytes"):
        make_plan(Path("o"), "kick", PlanOptions([60.0], ("wav",), {}, 1, "a" * 246))


def test_a_template_names_the_files() -> None:
    template = "{note}/{stem}-{midi:04d}+{cents}_{layer}of{velocity}.wav"
    plan = make_plan(Path("o"), "ki ck", PlanOptions([61.25], ("wav",), {}, 2, template))
    assert [str(one["wav"]) for one in plan.notes.values()] == [
        "o/Cs4p25/ki ck-0061+25_1of64.wav", "o/Cs4p25/ki ck-0061+25_2of127.wav",
    ]  # fmt: skip
    assert plan.notes[NoteKey(61.25, 1)]["wav"].name.endswith("127.wav")


@pytest.mark.parametrize(
    "template",
    ["../{midi}", "/tmp/{midi}", "a/../../{midi}", "{midi}/", "{midi", "{}", "{0}", "{stem.__class__}", "{midi!r}",
     "{midi:0999999999d}", "{nothing}", "{stem}", "a" * 300 + "{midi}", "{midi:x}{midi:q}", "{midi}//{note}",
     "\0{midi}", "{stem:>9}{midi}", "{note:>9}", "{midi:099d}", "./{midi}", "a" * 300 + "/{midi}"],
)  # fmt: skip
def test_a_template_that_makes_no_sense_or_leaves_the_folder_is_refused(template: str) -> None:
    with pytest.raises(UsageError):
        make_plan(Path("out"), "kick", PlanOptions([60.0, 61.0], ("wav",), {}, 1, template))


@given(st.text(max_size=40))
def test_any_template_is_one_inside_the_folder_or_a_usage_error(template: str) -> None:
    try:
        plan = make_plan(Path("/out"), "kick", PlanOptions([60.0, 61.0], ("wav",), {}, 1, template or None))
    except HgsError:
        return
    for path in plan.files:
        assert os.path.normpath(path).startswith("/out/")
    assert len(set(plan.files)) == 2
