"""Pitches are understood as musicians write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hgs_cli.errors import UsageError
from hgs_cli.pitch import (
    describe_pitch,
    hz_to_midi,
    midi_to_hz,
    note_name,
    note_tag,
    parse_note,
    parse_pitches,
    split_cents,
    unusual_pitches,
)

pitches_to_the_cent = st.integers(0, 12_700).map(lambda cents: cents / 100)


@pytest.mark.parametrize(
    ("text", "pitch"),
    [("60", 60.0), ("C4", 60.0), ("c4", 60.0), ("F#3", 54.0), ("F♯3", 54.0), ("Bb2", 46.0), ("bb2", 46.0),
     ("B♭2", 46.0), ("60.5", 60.5), ("60.25", 60.25), ("C-1", 0.0), ("G9", 127.0), ("Cb4", 59.0), ("B#3", 60.0),
     (" A4 ", 69.0), ("60.004", 60.0)],
)  # fmt: skip
def test_a_note_is_read_as_written(text: str, pitch: float) -> None:
    assert parse_note(text) == pitch


@pytest.mark.parametrize(
    "text", ["", "H4", "C", "C#", "sixty", "60-", "1e2", "nan", "-1", "128", "G#9", "Cb-1", "C4x", "\u0666\u0660"]
)
def test_what_is_no_note_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(UsageError, match="write notes as 60, C4"):
        parse_note(text)


@pytest.mark.parametrize(
    ("spec", "pitches"),
    [("60", [60]), ("48-51", [48, 49, 50, 51]), ("C3-D3", [48, 49, 50]), ("48-55:3", [48, 51, 54]),
     ("60,C4,62", [60, 62]), ("62, 60", [62, 60]), ("60-60", [60]), ("C-1-D-1", [0, 1, 2]),
     ("60-61:0.5", [60, 60.5, 61]), ("60.5-62", [60.5, 61.5]), ("62, 60-61 ", [62, 60, 61]),
     ("60-60.02:0.01", [60, 60.01, 60.02]), ("60-61:0.333", [60, 60.33, 60.67, 61])],
)  # fmt: skip
def test_a_pitch_spec_gives_its_notes_in_order_and_once(spec: str, pitches: list[float]) -> None:
    assert list(parse_pitches(spec)) == pitches


@pytest.mark.parametrize("spec", ["72-48", "C5-C3"])
def test_a_descending_range_is_refused(spec: str) -> None:
    with pytest.raises(UsageError, match="descends"):
        parse_pitches(spec)


@pytest.mark.parametrize("spec", ["", ",", "60,", "48-72:0", "48-72:0.001", "48-72:", "48--72", "48-72:-1", "C3-X5"])
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


@given(st.integers(0, 127))
def test_note_names_round_trip(note: int) -> None:
    assert parse_note(note_name(note)) == note


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
