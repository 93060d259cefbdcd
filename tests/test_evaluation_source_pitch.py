"""The table of source pitches counts what was heard, names what is missing, and holds out what it was set with."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sounds import harmonics, noise
from torch import Tensor

from hgs_cli.audio.source_pitch import Candidate
from hgs_cli.errors import InputError, UsageError
from hgs_cli.evaluation import pitch_trackers
from hgs_cli.evaluation.pitch_trackers import Track, Tracker, summarize
from hgs_cli.evaluation.source_pitch import OURS, Heard, Sound, cross_validate, measure_source_pitch
from hgs_cli.spectrum import SAMPLE_RATE


def tone(midi: float) -> Tensor:
    return 0.2 * harmonics(midi, highest=7, decay=1.0)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Two instruments of two notes, one of them labelled an octave too high, and two drums."""
    rows = []

    def add(instrument: str, family: str, midi: float | None, audio: Tensor) -> None:
        name = f"{instrument}-{midi}.wav"
        soundfile.write(tmp_path / name, audio.numpy(), SAMPLE_RATE, subtype="FLOAT")
        row = {"file": name, "instrument": instrument, "family": family, "pitched": midi is not None}
        rows.append(row | {"midi_measured": midi})

    add("flute", "wind", 60.0, tone(60.0))
    add("flute", "wind", 64.1, tone(64.1))
    add("bass", "bass", 31.0, tone(31.0))
    add("bass", "bass", 52.0, tone(40.0))
    add("snare", "oneshot-drum", None, noise(1.0, 0.2, fade_s=0.18, seed=1))
    add("hat", "oneshot-cymbal", None, noise(1.0, 0.2, fade_s=0.18, seed=2))
    (tmp_path / "manifest.json").write_text(json.dumps({"files": rows}))
    return tmp_path


@pytest.mark.parametrize(
    ("midi", "heard", "outcome"),
    [
        (60.0, 60.4, "right"),
        (60.0, 60.6, "other"),
        (60.0, 72.1, "octave"),
        (60.0, 35.9, "octave"),
        (60.0, 67.0, "other"),
        (60.0, None, "unpitched"),
        (None, None, "right"),
        (None, 50.0, "pitched"),
    ],
)
def test_an_outcome_is_named_by_what_was_confused(midi: float | None, heard: float | None, outcome: str) -> None:
    assert Heard("a.wav", "a", "wind", midi, heard).outcome == outcome


def test_notes_are_counted_by_family_and_confusions_listed(recordings: Path) -> None:
    section = measure_source_pitch(recordings).section()
    figures = section.figures["recordings"]
    assert (figures["n_notes"], figures["n_notes_right"], figures["octave"]) == (4, 3, 1)
    assert (figures["n_shots"], figures["n_shots_right"]) == (2, 2)
    assert [confusion["name"] for confusion in figures["confusions"]] == ["bass-52.0.wav"]
    rows = {row[0]: row for row in section.tables[0].rows}
    assert rows["bass"][2] == "1 of 2 (50.0 %)"
    assert rows["wind"][2] == "2 of 2 (100.0 %)"
    assert section.tables[-1].rows == [("bass-52.0.wav", "E3 (52.00)", "E2 (40.00)", "octave")]
    json.dumps(section.figures, allow_nan=False)


def test_a_second_measurement_gives_the_same_figures(recordings: Path) -> None:
    assert measure_source_pitch(recordings).section() == measure_source_pitch(recordings).section()


def test_further_sounds_have_their_own_figures(recordings: Path) -> None:
    extra = [Sound("rendered 60", "organ", "organ", 60.0, tone(72.0))]
    figures = measure_source_pitch(recordings, rendered=extra).section().figures
    assert figures["rendered"]["octave"] == 1
    assert figures["recordings"]["n_notes"] == 4


def test_other_detectors_stand_beside_ours_and_missing_ones_are_named(
    recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def middle_c(module: object, audio: Tensor) -> Track:
        return Track(np.full(100, 261.63), np.ones(100, bool), 0.01)

    always = {"always-c4": Tracker("json", middle_c), "absent": Tracker("no_such_package_here", middle_c)}
    for name, tracker in always.items():
        monkeypatch.setitem(pitch_trackers.TRACKERS, name, tracker)
    result = measure_source_pitch(recordings, detectors=["always-c4", "absent"])
    assert result.missing == ["absent"]
    assert list(result.peers) == [OURS, "always-c4"]
    heard = result.peers["always-c4"].heard
    assert [row.heard for row in heard] == [pytest.approx(60.0, abs=0.01)] * len(heard)
    assert any("absent is not installed" in note for table in result.section().tables for note in table.notes)


def test_an_unknown_detector_or_no_manifest_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no detector guess"):
        measure_source_pitch(tmp_path, detectors=["guess"])
    with pytest.raises(InputError, match=r"manifest\.json"):
        measure_source_pitch(tmp_path)


def test_one_note_of_a_track_follows_the_loud_frames() -> None:
    audio = torch.cat([torch.ones(SAMPLE_RATE // 2), 0.1 * torch.ones(SAMPLE_RATE // 2)])
    f0_hz = np.where(np.arange(100) < 40, 440.0, 220.0)
    everywhere = np.ones(100, bool)
    assert summarize(Track(f0_hz, everywhere, 0.01), audio) == pytest.approx(69.0)
    assert summarize(Track(f0_hz, np.arange(100) >= 50, 0.01), audio) is None
    assert summarize(Track(np.zeros(100), everywhere, 0.01), audio) is None


def test_thresholds_are_chosen_without_the_half_that_is_measured() -> None:
    """In one half noise repeats to 0.5 and notes to 0.7, in the other 0.7 and 0.9: what suits one fails the other."""

    def found(height: float) -> list[Candidate]:
        return [Candidate(440.0, height, 0.0)]

    sounds: list[tuple[str, float | None, list[Candidate]]] = []
    for name, noise_height, note_height in (("a", 0.5, 0.7), ("b", 0.7, 0.9)):
        sounds += [(name, 69.0, found(note_height))] * 10 + [(f"{name}-drum", None, found(noise_height))] * 10
    first, second = cross_validate(sounds)
    assert (first.n_notes, first.n_notes_right, first.n_shots_right) == (10, 0, 10)
    assert (second.n_notes, second.n_notes_right, second.n_shots_right) == (10, 10, 0)
    assert 0.7 < first.pitched_height <= 0.9
    assert 0.5 < second.pitched_height <= 0.7
