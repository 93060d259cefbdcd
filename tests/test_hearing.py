"""Chords, bells, drums and notes in a row are heard as what they are, at a pitch to play them from."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch
from conftest import RECORDINGS, few_of
from sounds import harmonics, noise, partials, sine, times
from torch import Tensor

from hgs_cli.audio.background import without_background
from hgs_cli.audio.chords import find_root
from hgs_cli.audio.hearing import Heard, contradiction, describe_heard, hear
from hgs_cli.audio.onset import find_onset
from hgs_cli.audio.partials import find_partials, harmonic_share, strongest_mode
from hgs_cli.evaluation.effects import treat
from hgs_cli.evaluation.known_truth import PATCHES, draw_patch
from hgs_cli.pitch import hz_to_midi, midi_to_hz
from hgs_cli.spectrum import N_FRAMES, SAMPLE_RATE

WAVES: dict[str, Callable[[int], float]] = {
    "saw": lambda k: 1.0 / k,
    "square": lambda k: k % 2 / k,
    "triangle": lambda k: k % 2 / k**2,
    "organ": lambda k: {1: 1.0, 2: 0.7, 3: 0.5, 4: 0.5, 6: 0.3, 8: 0.3}.get(k, 0.0),
    "plucked": lambda k: abs(math.sin(0.69 * k)) / k,
    "sine": lambda k: float(k == 1),
}
CHORDS = {"major": (0, 4, 7), "minor": (0, 3, 7), "seventh": (0, 4, 7, 10), "major seventh": (0, 4, 7, 11)}


def struck(hz: Sequence[float], levels: Sequence[float], decays: Sequence[float], seconds: float = 2.0) -> Tensor:
    """A sum of decaying sines with an attack of 3 ms."""
    heard = [level if f_hz < 16_000.0 else 0.0 for f_hz, level in zip(hz, levels, strict=True)]
    total = partials(hz, seconds, heard, decays) * (1.0 - torch.exp(-times(seconds) / 0.003))
    return (0.5 * total / total.abs().max()).float()


def play(notes: Sequence[float], wave: str = "saw", decay: float = 1.0, seconds: float = 2.0) -> Tensor:
    """Notes at once."""
    hz, levels = [], []
    for note in notes:
        hz += [k * midi_to_hz(note) for k in range(1, 25)]
        levels += [WAVES[wave](k) for k in range(1, 25)]
    return struck(hz, levels, [decay] * len(hz), seconds)


def fading(hz: float | Tensor, fade_s: float, seconds: float = 1.0) -> Tensor:
    """A sine of a frequency (T,) that dies away."""
    time = torch.arange(round(seconds * SAMPLE_RATE), dtype=torch.float64) / SAMPLE_RATE
    phase = torch.cumsum(torch.as_tensor(hz, dtype=torch.float64).expand(len(time)), 0) / SAMPLE_RATE
    return (torch.sin(2 * math.pi * phase) * torch.exp(-time / fade_s)).float()


def inverted(chord: Sequence[int], times: int) -> list[int]:
    return [*chord[times:], *(step + 12 for step in chord[:times])]


@pytest.mark.parametrize("wave", few_of(WAVES, "saw", "plucked"))
@pytest.mark.parametrize("inversion", few_of([0, 1], 1))
def test_a_chord_is_played_from_its_root_and_its_notes_are_named(wave: str, inversion: int) -> None:
    for index, chord in enumerate(CHORDS.values()):
        base = 46.0 + 5 * index
        notes = [base + step for step in inverted(chord, inversion)]
        heard = hear(play(notes, wave, decay=0.5 * index))
        assert heard.kind == "several pitches"
        assert heard.pitches == pytest.approx(notes, abs=0.1)
        assert heard.midi == heard.found
        assert heard.midi is not None
        assert min(abs(heard.midi - note) for note in (notes[0], base, base + 12.0)) < 0.1
        assert heard.harmonic_share < 0.6
        assert not heard.pitch_contour_cents.any()


@pytest.mark.parametrize("wave", few_of(WAVES, "square", "organ"))
def test_a_fifth_is_heard_at_its_lower_note_and_octaves_are_one_note(wave: str) -> None:
    fifth = hear(play([45.0, 52.0], wave))
    assert fifth.kind == "several pitches"
    assert fifth.midi == pytest.approx(45.0, abs=0.1)
    octaves = hear(play([48.0, 60.0, 72.0], wave))
    assert octaves.kind == "pitched"
    assert octaves.midi == pytest.approx(48.0, abs=0.1)
    assert octaves.harmonic_share > 0.95


@pytest.mark.parametrize("drive", few_of([2.0, 5.0, 12.0], 5.0))
def test_a_power_chord_is_heard_at_its_root_and_a_note_through_the_same_amplifier_at_its_own(drive: float) -> None:
    for root in (33.0, 40.0, 45.0, 52.0):
        for steps in ((0.0, 7.0), (0.0, 7.0, 12.0)):
            clean = torch.stack([harmonics(root + step, 2.0, decay=0.6) for step in steps]).sum(0)
            heard = hear(0.5 * torch.tanh(drive * clean / clean.abs().max()))
            assert heard.kind == "several pitches"
            assert heard.pitches == pytest.approx([root, root + 7.0], abs=0.1)
            assert heard.midi == pytest.approx(root, abs=0.1)
        alone = harmonics(root - 12.0, 2.0, level=lambda k: 0.1 if k == 1 else 1.0 / k, decay=0.6)
        note = hear(0.5 * torch.tanh(drive * alone / alone.abs().max()))
        assert note.kind == "pitched"
        assert note.midi == pytest.approx(root - 12.0, abs=0.1)


@pytest.mark.parametrize("drive", few_of([1.5, 4.0, 8.0], 4.0))
@pytest.mark.parametrize(
    ("steps", "root"), few_of([((0, 4, 7), 0), ((0, 5), 5), ((0, 4), 0), ((0, 3), 0)], ((0, 4, 7), 0), ((0, 5), 5))
)
def test_a_chord_through_an_amplifier_keeps_its_notes(steps: tuple[int, ...], root: int, drive: float) -> None:
    for lowest in (45.0, 50.0, 57.0):
        clean = torch.stack([harmonics(lowest + step, 2.0, decay=0.4) for step in steps]).sum(0)
        heard = hear(0.5 * torch.tanh(drive * clean / clean.abs().max()))
        assert heard.kind == "several pitches"
        assert heard.pitches == pytest.approx([lowest + step for step in steps], abs=0.2)
        assert heard.midi == pytest.approx(lowest + root, abs=0.2)


def test_a_note_without_its_lowest_harmonics_is_no_chord() -> None:
    for lowest in (2, 3, 4):
        hz = [k * midi_to_hz(36.0) for k in range(lowest, 25)]
        heard = hear(struck(hz, [1.0 / k for k in range(lowest, 25)], [1.0] * len(hz)))
        assert heard.kind == "pitched"
        assert heard.midi == pytest.approx(36.0, abs=0.1)


def test_a_chord_keeps_its_notes_in_a_noisy_room() -> None:
    clean = play([50.0, 54.0, 57.0], "plucked", 2.0)
    room = noise(0.6, fade_s=0.1) * 0.05
    room[0] = 1.0
    n_fft = 1 << 18
    wet = torch.fft.irfft(torch.fft.rfft(clean, n_fft) * torch.fft.rfft(room, n_fft), n_fft)[: len(clean)]
    heard = hear(wet + 0.002 * noise(2.0, seed=1))
    assert heard.pitches == pytest.approx([50.0, 54.0, 57.0], abs=0.1)


BELLS = {
    "church": ((0.5, 1, 1.2, 1.5, 2, 2.5, 2.67, 3, 4, 5.33), (0.6, 0.8, 0.7, 0.4, 1, 0.3, 0.3, 0.5, 0.4, 0.2)),
    "loud hum": ((0.5, 1, 1.183, 1.506, 2, 2.514, 2.662, 3.011), (1, 0.5, 0.8, 0.3, 0.7, 0.3, 0.25, 0.5)),
    "tubular": (tuple((2 * k + 1) ** 2 / 40.5 for k in range(1, 9)), (0.15, 0.3, 0.6, 1, 0.9, 0.7, 0.4, 0.3)),
    "hand": ((1, 3, 5.5), (1, 0.4, 0.1)),
    "bar": ((1, 2.756, 5.404, 8.933), (1, 0.5, 0.25, 0.1)),
    "marimba": ((1, 3.93, 9.5), (1, 0.3, 0.15)),
    "kalimba": ((1, 5.8, 14.0), (1, 0.15, 0.05)),
    "glass": ((1, 2.32, 4.25, 6.63), (1, 0.3, 0.1, 0.05)),
    "steel": ((1, 2.0, 3.01, 4.02, 5.1), (1, 0.8, 0.4, 0.3, 0.2)),
}


@pytest.mark.parametrize("name", BELLS)
@pytest.mark.parametrize("midi", few_of([60.0, 71.3], 71.3))
def test_bells_and_bars_are_heard_at_their_strike_note(name: str, midi: float) -> None:
    ratios, levels = BELLS[name]
    hz = [midi_to_hz(midi) * ratio for ratio in ratios]
    heard = hear(struck(hz, levels, [0.5 + 0.3 * index for index in range(len(hz))], 3.0))
    assert heard.kind == "pitched"
    assert heard.midi == pytest.approx(midi, abs=0.2)


@pytest.mark.parametrize(("ratio", "depth"), [(1.4, 1.0), (2.76, 1.0), (7.0, 2.0), (3.0, 2.0)])
def test_modulated_bells_are_heard_at_their_carrier(ratio: float, depth: float) -> None:
    time = torch.arange(2 * SAMPLE_RATE, dtype=torch.float64) / SAMPLE_RATE
    phase = 2 * math.pi * midi_to_hz(60.0) * time
    bell = torch.sin(phase + depth * torch.exp(-time) * torch.sin(ratio * phase)) * torch.exp(-time)
    assert hear(0.5 * bell.float()).midi == pytest.approx(60.0, abs=0.3)


@pytest.mark.parametrize("ratios", [(1.0, 2.5, 4.5), (1.0, 1.5, 2.5)])
@pytest.mark.parametrize("midi", few_of([50.0, 57.3, 64.0], 57.3))
def test_a_period_that_modes_have_by_chance_is_not_what_is_played(ratios: tuple[float, ...], midi: float) -> None:
    audio = struck(
        [midi_to_hz(midi) * ratio for ratio in ratios], [1.0, 0.5, 0.4, 0.3, 0.2][: len(ratios)], [1.0] * len(ratios)
    )
    assert hear(audio).midi == pytest.approx(midi, abs=0.5)


@pytest.mark.parametrize("lowest", [2, 3, 5])
def test_a_note_without_its_lowest_harmonics_is_still_that_note(lowest: int) -> None:
    numbers = range(lowest, 16)
    audio = struck([k * midi_to_hz(52.0) for k in numbers], [1.0 / k for k in numbers], [1.0] * len(numbers))
    assert hear(audio).midi == pytest.approx(52.0, abs=0.2)


@pytest.mark.parametrize("hz", [45.0, 52.0, 60.0])
def test_a_kick_is_played_from_where_it_settles(hz: float) -> None:
    time = torch.arange(SAMPLE_RATE, dtype=torch.float64) / SAMPLE_RATE
    kick = fading(hz + 120.0 * torch.exp(-time / 0.025), 0.15) + 0.05 * noise(1.0, fade_s=0.004)
    heard = hear(0.6 * kick)
    assert heard.kind == "unpitched"
    assert heard.midi == pytest.approx(hz_to_midi(hz), abs=0.7)
    assert strongest_mode(kick) == pytest.approx(hz_to_midi(hz), abs=0.7)


@pytest.mark.parametrize("hz", [90.0, 130.0, 180.0])
def test_toms_and_snares_are_played_from_their_lowest_mode(hz: float) -> None:
    modes = ((1.0, 1.0, 0.25), (1.59, 0.5, 0.15), (2.14, 0.35, 0.1), (2.3, 0.2, 0.09))
    tom = 0.4 * torch.stack([level * fading(ratio * hz, fade) for ratio, level, fade in modes]).sum(0)
    snare = 0.3 * fading(1.5 * hz, 0.08) + 0.15 * fading(2.7 * hz, 0.08) + 0.05 * noise(1.0, fade_s=0.12)
    for sound, mode_hz in ((tom, hz), (snare, 1.5 * hz)):
        heard = hear(sound)
        assert heard.kind == "unpitched"
        assert heard.midi == pytest.approx(hz_to_midi(mode_hz), abs=0.3)
        assert heard.harmonic_share < 0.75
        assert "its strongest mode at" in describe_heard(heard)


@pytest.mark.parametrize("ratios", [(1.0, 1.27, 1.83, 2.37), (1.0, 1.41, 2.09), (1.0, 1.73, 2.31, 3.07, 3.89)])
def test_a_gong_of_few_modes_that_hold_is_a_note_at_its_strongest(ratios: tuple[float, ...]) -> None:
    levels = [0.7, 1.0, 0.6, 0.5, 0.4][: len(ratios)]
    gong = struck([220.0 * ratio for ratio in ratios], levels, [1.5] * len(ratios), 3.0)
    heard = hear(gong)
    assert (heard.kind, heard.pitched) == ("modes", True)
    assert heard.midi == pytest.approx(hz_to_midi(220.0 * ratios[1]), abs=0.1)
    assert "a few modes that hold, the strongest at" in describe_heard(heard)


@pytest.mark.parametrize("upper_hz", [740.0, 800.0])
def test_a_cowbell_is_played_from_its_lowest_tone(upper_hz: float) -> None:
    tones = [torch.stack([fading(k * hz, 0.12) / k for k in range(1, 20, 2)]).sum(0) for hz in (540.0, upper_hz)]
    assert hear(0.3 * (tones[0] + tones[1])).midi == pytest.approx(hz_to_midi(540.0), abs=0.3)


@pytest.mark.parametrize("number", [3, 500])
def test_a_bump_in_noise_is_no_note(number: int) -> None:
    assert not hear(draw_patch("swept noise", PATCHES.evaluation_seed + number).render()).pitched


def test_many_modes_that_hold_are_a_cymbal_and_no_note() -> None:
    drawn = torch.rand(300, generator=torch.Generator().manual_seed(0))
    cymbal = partials((300.0 * 30.0**drawn).tolist(), 3.0, [0.01] * 300, [1.0] * 300)
    assert hear(cymbal).kind == "unpitched"


def test_noise_has_no_mode() -> None:
    white = noise(1.0, fade_s=0.3)
    hat = torch.diff(noise(1.0, fade_s=0.05, seed=1))
    crash = torch.diff(noise(2.0, fade_s=0.7, seed=2))
    silence = torch.zeros(SAMPLE_RATE)
    for sound in (white, hat, crash, silence, white[:500]):
        heard = hear(0.2 * sound)
        assert (heard.kind, heard.midi, heard.harmonic_share) == ("unpitched", None, 0.0)
        assert strongest_mode(sound) is None
        assert describe_heard(heard) == "heard as unpitched"


def test_of_two_notes_in_a_row_the_first_is_heard() -> None:
    heard = hear(torch.cat([play([60.0], decay=3.0, seconds=0.7), play([65.0], decay=3.0, seconds=1.0)]))
    assert heard.kind == "several hits"
    assert [round(hit / SAMPLE_RATE, 1) for hit in heard.hits] == [0.0, 0.7]
    assert heard.midi == pytest.approx(60.0, abs=0.1)
    assert describe_heard(heard) == "heard as 2 hits, the first at C4"
    chords = torch.cat([play([48.0, 52.0, 55.0], decay=2.0), play([53.0, 57.0, 60.0], decay=2.0)])
    assert describe_heard(hear(chords)) == "heard as 2 hits, the first several pitches at once (C3 E3 G3)"


def test_a_cough_before_a_note_does_not_hide_it() -> None:
    heard = hear(torch.cat([0.1 * noise(0.3, fade_s=0.05), play([57.0], decay=0.2)]))
    assert heard.midi == pytest.approx(57.0, abs=0.1)


def test_vibrato_is_harmonic_too() -> None:
    time = torch.arange(2 * SAMPLE_RATE, dtype=torch.float64) / SAMPLE_RATE
    f0_hz = midi_to_hz(69.0) * 2.0 ** (0.6 / 12.0 * torch.sin(2 * math.pi * 5.5 * time))
    sung = 0.2 * torch.stack([fading(k * f0_hz, 9.0, 2.0) / k for k in range(1, 12)]).sum(0)
    assert harmonic_share(find_partials(sung), midi_to_hz(69.0)) < 0.8
    heard = hear(sung)
    assert heard.harmonic_share > 0.9
    assert heard.pitch_contour_cents.shape == (N_FRAMES,)
    assert float(heard.pitch_contour_cents.abs().max()) > 30.0


def test_the_harmonic_share_tells_notes_from_other_sounds() -> None:
    strings = [k * midi_to_hz(40.0) * math.sqrt(1.0 + 3e-4 * k * k) for k in range(1, 20)]
    string = struck(strings, [1.0 / k for k in range(1, 20)], [1.0] * 19)
    assert hear(string).harmonic_share > 0.95  # stretched partials are harmonics of a string
    assert hear(play([60.0], "square") + 0.003 * noise(2.0)).harmonic_share > 0.9
    ring = torch.sin(2 * math.pi * 467.0 * torch.arange(2 * SAMPLE_RATE) / SAMPLE_RATE) * play([55.0])
    assert hear(ring).harmonic_share < 0.6
    assert hear(play([60.0]), None).harmonic_share == 0.0


def test_what_is_told_is_used_and_what_is_heard_is_kept() -> None:
    audio = play([48.04], decay=0.0)
    heard = hear(audio)
    assert describe_heard(heard) == "heard as C3 +4 cents, sustained"
    told = hear(audio, 60.0)
    assert told.midi == pytest.approx(60.0, abs=0.1)
    assert told.found == heard.midi
    assert contradiction(told, 60.0) == "told to be at C4, and heard as C3 +4 cents, sustained"
    assert contradiction(told, 48.0) is None
    none = hear(audio, None)
    assert contradiction(none, None) == "told to have no pitch, and heard as C3 +4 cents, sustained"
    near = hear(audio, 48.0)
    assert near.midi == pytest.approx(48.04, abs=0.02)
    assert near.kind == "pitched"


def test_a_chord_may_be_told_to_be_any_of_its_notes_and_a_drum_anything() -> None:
    chord = hear(play([48.0, 52.0, 55.0]))
    assert contradiction(chord, 55.0) is None
    assert contradiction(chord, 50.0) == "told to be at D3, and " + describe_heard(chord)
    assert describe_heard(chord) == "heard as several pitches at once (C3 E3 G3), root C3"
    assert contradiction(hear(burst := 0.2 * noise(1.0, fade_s=0.1)), 60.0) is None
    assert hear(burst, 60.0).midi == 60.0
    assert contradiction(hear(burst, None), None) is None


def test_what_dies_away_is_not_said_to_be_sustained() -> None:
    assert describe_heard(hear(play([57.0], decay=4.0))) == "heard as A3, dying away"


@pytest.mark.parametrize(
    ("notes", "root"),
    [
        ([48, 52, 55], 48),
        ([52, 55, 60], 60),
        ([55, 60, 63], 60),
        ([55, 60], 60),
        ([48, 55, 60], 48),
        ([50, 53, 55, 59], 55),
        ([60, 61, 62], 60),
        ([57, 60, 64, 67], 57),
    ],
)
def test_the_root_of_a_chord_is_found_in_any_inversion(notes: list[int], root: int) -> None:
    assert find_root([note + 0.05 for note in notes]) == pytest.approx(root + 0.05)


def test_a_finding_without_a_mode_is_said_plainly() -> None:
    heard = hear(0.2 * noise(1.0, fade_s=0.1))
    two = replace(heard, hits=(0, 30_000), kind="several hits")
    assert describe_heard(two) == "heard as 2 hits, the first unpitched"


def test_what_sounds_all_the_time_behind_a_note_is_left_out_and_the_note_is_kept() -> None:
    note, hum = play([57.0], "plucked", 8.0, seconds=3.0), sine(150.0, 3.0, 0.02)
    foreground = without_background(note + hum)
    assert foreground is not None
    loud, behind = slice(0, SAMPLE_RATE // 4), slice(2 * SAMPLE_RATE, None)
    assert float((foreground - note)[loud].norm() / note[loud].norm()) < 0.1
    assert float(foreground[behind].norm() / hum[behind].norm()) < 0.1


@pytest.mark.parametrize(
    "audio",
    [
        play([57.0], "saw", 0.0, seconds=3.0),
        play([57.0], "saw", 3.0, seconds=3.0),
        torch.nn.functional.pad(play([57.0], "saw", 3.0, seconds=1.0), (0, 2 * SAMPLE_RATE)),
        play([57.0], "plucked", 8.0, seconds=0.4),
    ],
    ids=["a held note", "a note that dies away", "silence behind a note", "a short sound"],
)
def test_what_has_nothing_behind_it_is_left_as_it_is(audio: Tensor) -> None:
    assert without_background(audio) is None


def labelled(collection: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads((RECORDINGS / collection / "manifest.json").read_text())["files"]
    return rows


def heard_of(collection: str, row: dict[str, str]) -> Heard:
    audio = torch.from_numpy(soundfile.read(RECORDINGS / collection / row["file"], dtype="float32")[0])
    return hear(audio[find_onset(audio) :])


@pytest.mark.real
@pytest.mark.thorough
@pytest.mark.parametrize("collection", ["real", "real2"])
def test_recorded_notes_are_heard_as_labelled_and_harmonic(collection: str) -> None:
    rows = [row for row in labelled(collection) if row["pitched"]][::24]
    heard = [heard_of(collection, row) for row in rows]
    right = [abs((one.found or 0.0) - float(row["midi_measured"])) < 0.5 for one, row in zip(heard, rows, strict=True)]
    assert sum(right) >= 0.96 * len(rows)
    assert sum(one.kind == "pitched" for one in heard) >= 0.94 * len(rows)
    assert sum(one.harmonic_share > 0.8 for one in heard) >= 0.85 * len(rows)


@pytest.mark.real
@pytest.mark.parametrize(
    "note", few_of(["sitar_043_loud", "ergo-bass-pizz_048_loud", "growlybass_045_loud"], "sitar_043_loud")
)
def test_a_recorded_note_is_heard_through_mains_hum(note: str) -> None:
    row = next(row for row in labelled("real") if Path(row["file"]).stem == note)
    audio = torch.from_numpy(soundfile.read(RECORDINGS / "real" / row["file"], dtype="float32")[0])
    heard = hear(treat("hum", audio))
    assert heard.pitched
    assert heard.midi == pytest.approx(float(row["midi_measured"]), abs=0.5)


@pytest.mark.real
@pytest.mark.thorough
def test_recorded_drums_are_not_heard_as_notes() -> None:
    rows = [row for row in labelled("real2") if row["family"] in ("oneshot-drum", "oneshot-cymbal", "oneshot-shaker")]
    assert sum(heard_of("real2", row).kind == "unpitched" for row in rows) >= 0.85 * len(rows)
