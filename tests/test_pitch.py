"""Pitches are understood as musicians write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hgs_cli.errors import UsageError
from hgs_cli.pitch import (
    describe_pitch,
    hz_to_midi,
    is_several,
    midi_to_hz,
    note_name,
    note_tag,
    parse_note,
    parse_pitches,
    rename_notes,
    split_cents,
    unusual_pitches,
)

pitches_to_the_cent = st.integers(0, 12_700).map(lambda cents: cents / 100)


@pytest.mark.parametrize(
    ("text", "pitch"),
    [("60", 60.0), ("C4", 60.0), ("c4", 60.0), ("F#3", 54.0), ("F♯3", 54.0), ("Bb2", 46.0), ("bb2", 46.0),
     ("B♭2", 46.0), ("60.5", 60.5), ("60.25", 60.25), ("C-1", 0.0), ("G9", 127.0), ("Cb4", 59.0), ("B#3", 60.0),
     (" A4 ", 69.0), ("60.004", 60.0), ("440Hz", 69.0), ("27.5 hz", 21.0), ("1.76kHz", 93.0), ("C4+50", 60.5),
     ("C4 +12.3 cents", 60.12), ("A3 -10.0 cents", 56.9), ("C4-50c", 59.5), ("Bb2+5ct", 46.05), ("60+50", 60.5),
     ("440Hz+50", 69.5), ("G9+0.4", 127.0)],
)  # fmt: skip
def test_a_note_is_read_as_written(text: str, pitch: float) -> None:
    assert parse_note(text) == pitch


@pytest.mark.parametrize(
    "text",
    [
        "",
        "H4",
        "C",
        "C#",
        "sixty",
        "60-",
        "1e2",
        "nan",
        "-1",
        "128",
        "G#9",
        "Cb-1",
        "C4x",
        "\u0666\u0660",
        "0Hz",
        "20000Hz",
        "C4-50",
        "C4+",
        "C4+50 C4",
        "440 H",
        "Hz",
    ],
)
def test_what_is_no_note_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(UsageError, match="write notes as 60, C4"):
        parse_note(text)


@pytest.mark.parametrize(
    ("spec", "pitches"),
    [("60", [60]), ("48-51", [48, 49, 50, 51]), ("C3-D3", [48, 49, 50]), ("48-55:3", [48, 51, 54]),
     ("60,C4,62", [60, 62]), ("62, 60", [62, 60]), ("60-60", [60]), ("C-1-D-1", [0, 1, 2]),
     ("60-61:0.5", [60, 60.5, 61]), ("60.5-62", [60.5, 61.5]), ("62, 60-61 ", [62, 60, 61]),
     ("C3..D3", [48, 49, 50]), ("48...50", [48, 49, 50]), ("60 - 62", [60, 61, 62]), ("48–50", [48, 49, 50]),
     ("48 to 50", [48, 49, 50]), ("C3 E3 G3", [48, 52, 55]), ("C3, E3  G3 ,60", [48, 52, 55, 60]),
     ("62-60", [62, 61, 60]), ("C5..C4:5", [72, 67, 62]), ("C4-57", [60, 59, 58, 57]),
     ("61-60:0.4", [61, 60.6, 60.2]),
     ("440Hz-71", [69, 70, 71]), ("C4+50..62", [60.5, 61.5]), ("440 Hz 60", [69, 60]),
     ("C4-72:6 c#3", [60, 66, 72, 49]),
     ("60-60.02:0.01", [60, 60.01, 60.02]), ("60-61:0.333", [60, 60.33, 60.67, 61])],
)  # fmt: skip
def test_a_pitch_spec_gives_its_notes_in_order_and_once(spec: str, pitches: list[float]) -> None:
    assert list(parse_pitches(spec)) == pitches


@pytest.mark.parametrize("spec", ["", ",", "60,", "48-72:0", "48-72:0.001", "48-72:", "48--72", "48-72:-1", "C3-X5",
                                  "60C4", "60 62,,64", "C3..", "..C3", "60 -"])  # fmt: skip
def test_a_bad_pitch_spec_is_refused(spec: str) -> None:
    with pytest.raises(UsageError):
        parse_pitches(spec)


def test_a_hundred_thousand_notes_may_be_asked_for_and_no_more() -> None:
    most = ",".join(["0-127:0.01"] * 7 + ["0-110.92:0.01"])  # 7 times 12,701 and 11,093
    assert len(parse_pitches(most)) == 12_701
    with pytest.raises(UsageError, match="over 100,000 notes"):
        parse_pitches(f"{most},60-60")


@given(st.text(max_size=12))
def test_any_text_is_a_pitch_spec_or_a_usage_error(text: str) -> None:
    try:
        pitches = parse_pitches(text)
    except UsageError:
        return
    assert all(0 <= pitch <= 127 for pitch in pitches)


@given(st.integers(0, 127), st.integers(3, 5))
def test_note_names_round_trip_whatever_middle_c_is_called(note: int, middle_c: int) -> None:
    assert parse_note(note_name(note, middle_c), middle_c) == note
    assert parse_pitches(describe_pitch(note, middle_c), middle_c) == (note,)


def test_middle_c_may_be_c3_in_names_and_sentences() -> None:
    assert (parse_note("C3", 3), note_name(60, 3), note_tag(61.5, 3)) == (60.0, "C3", "Cs3p50")
    assert rename_notes("heard as several pitches at once (C4 E4 G#4), root C-1", 3).endswith("(C3 E3 G#3), root C-2")


def test_a_frequency_is_that_frequency_whatever_the_concert_pitch() -> None:
    assert parse_pitches("432Hz 60", a4_hz=432.0) == (69.0, 60.0)
    assert parse_note("440Hz", a4_hz=442.0) == 68.92


def test_several_notes_are_told_from_one() -> None:
    assert [is_several(text) for text in ("48-72", "C3,C4", "60", "440Hz", "auto", "")] == [True, True] + [False] * 4


@given(st.floats(0, 127))
def test_midi_and_hz_round_trip(pitch: float) -> None:
    assert hz_to_midi(midi_to_hz(pitch)) == pytest.approx(pitch, abs=1e-9)


def test_a4_is_440_hz_and_an_octave_doubles() -> None:
    assert midi_to_hz(69) == 440.0
    assert midi_to_hz(81) == 880.0


@pytest.mark.parametrize(
    ("pitch", "name"),
    [(60, "C4"), (61, "Cs4"), (60.5, "C4p50"), (60.01, "C4p01"), (0, "C-1"), (127, "G9")],
)
def test_a_note_is_named_in_files(pitch: float, name: str) -> None:
    assert note_tag(pitch) == name


@given(st.sets(pitches_to_the_cent, min_size=2, max_size=2))
def test_two_pitches_never_share_a_name_in_files(pitches: set[float]) -> None:
    low, high = sorted(pitches)
    assert note_tag(low) != note_tag(high)


@given(pitches_to_the_cent)
def test_cents_and_note_add_up_to_the_pitch(pitch: float) -> None:
    note, cents = split_cents(pitch)
    assert 0 <= cents < 100
    assert note + cents / 100 == pytest.approx(pitch)


def test_a_pitch_is_described_by_the_nearest_note() -> None:
    assert describe_pitch(57.123) == "A3 +12.3 cents"
    assert describe_pitch(56.9) == "A3 -10.0 cents"


def test_pitches_beyond_a_piano_are_unusual() -> None:
    assert unusual_pitches([20.99, 21, 60, 108, 108.5]) == (20.99, 108.5)
