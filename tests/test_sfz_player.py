"""sfizz, a player of SFZ files, plays those of hgs: the right note on every key, in tune and as loud as it was made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import Run
from sounds import harmonics
from test_carrier import cents_off

from hgs_cli.export.zones import velocity_gain
from hgs_cli.pitch import midi_to_hz
from hgs_cli.spectrum import SAMPLE_RATE

pysfizz = pytest.importorskip("pysfizz", reason="pysfizz, a player of SFZ files, is not installed (pip: pysfizz)")

KEYS = (21, 45, 58, 60, 77, 93)
SECONDS = 1.0
RELEASE_S = 1.0  # after which nothing sounds


class Player:
    """sfizz with an SFZ file open."""

    def __init__(self, path: Path) -> None:
        self._synth = pysfizz.Synth(sample_rate=SAMPLE_RATE, block_size=512)
        whole = path.with_suffix(".whole.sfz")  # files that are read while they play are late where nobody waits
        whole.write_text("<control> hint_ram_based=1\n" + path.read_text())
        self._synth.load_sfz_file(str(whole))
        self.keys: list[int] = self._synth.playable_keys

    def play(self, key: int, velocity: int, seconds: float = SECONDS) -> np.ndarray:
        """A note in mono as long as its key is held, (T,)."""
        both = self._synth.render_note(key, velocity, seconds, seconds + RELEASE_S)
        mono: np.ndarray = np.asarray(both).mean(0)
        return mono[: round(seconds * SAMPLE_RATE)]


def gain_db(played: np.ndarray, written: np.ndarray) -> tuple[float, float]:
    """By which a note is played, and what of it is not the note that was written, in dB."""
    lags = range(-2, 3)  # filters of players are late by a sample
    played, written = (each[: round(0.9 * SECONDS * SAMPLE_RATE)] for each in (played, written))
    fits = [(np.roll(written, lag) @ played / (written @ written), np.roll(written, lag)) for lag in lags]
    gain, shifted = max(fits, key=lambda fit: fit[0])
    rest = played - gain * shifted
    return 20 * np.log10(gain), 10 * np.log10(rest @ rest / (played @ played))


@pytest.fixture(scope="module")
def piano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of every other octave, soft and loud."""
    folder = tmp_path_factory.mktemp("recordings") / "piano"
    folder.mkdir()
    for key in (24, 48, 72, 96):
        for dynamic, highest, level in (("p", 2, 0.05), ("f", 12, 0.3)):
            sound = level * harmonics(key, SECONDS, highest=highest, decay=2.0)
            soundfile.write(folder / f"piano_{key:03d}_{dynamic}.wav", sound.numpy(), SAMPLE_RATE)
    return folder


@pytest.mark.parametrize("keys", [",".join(map(str, KEYS)), pytest.param("21-108", marks=pytest.mark.thorough)])
def test_88_keys_in_two_layers_of_8_recordings_are_played_in_tune_and_level(
    hgs: Run, piano: Path, tmp_path: Path, keys: str
) -> None:
    assert hgs("render", str(piano), "--multisample", "-p", keys, "--format", "sfz", "-o", "out").code == 0
    player = Player(tmp_path / "out" / "piano.sfz")
    assert set(range(21, 109)) <= set(player.keys)
    gains = {}
    for key in KEYS:
        for layer, velocity in ((1, 40), (2, 127)):
            (path,) = (tmp_path / "out").glob(f"*_{key:03d}_*_v{layer}.wav")
            played = player.play(key, velocity)
            gains[key, velocity], beside_db = gain_db(played, soundfile.read(path)[0])
            assert beside_db < -15.0  # it is that note; a filter's part of a sample is -20 dB at 5 kHz
            assert abs(cents_off(torch.from_numpy(played).float(), midi_to_hz(key))) < 3.0
    loud, soft = ([gains[key, velocity] for key in KEYS] for velocity in (127, 40))
    assert max(loud) - min(loud) < 0.2
    softer_db = 20 * np.log10(velocity_gain(40, 2) / velocity_gain(127, 2))
    assert np.mean(soft) - np.mean(loud) == pytest.approx(softer_db, abs=0.5)


def test_takes_are_played_in_turn(hgs: Run, piano: Path, tmp_path: Path) -> None:
    sound = piano / "piano_048_f.wav"
    assert hgs("render", str(sound), "-p", "60", "--takes", "3", "--format", "sfz", "-o", "out").code == 0
    player = Player(tmp_path / "out" / "piano_048_f.sfz")
    notes = [player.play(60, 127) for _ in range(4)]
    written = [soundfile.read(tmp_path / "out" / f"piano_048_f_060_C4_take{take}.wav")[0] for take in (1, 2, 3)]
    nearest = [int(np.argmin([gain_db(note, take)[1] for take in written])) for note in notes]
    first = nearest[0]
    assert nearest == [(first + turn) % 3 for turn in range(4)]


def test_a_looped_note_is_held_without_a_gap(hgs: Run, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "organ.wav", 0.2 * harmonics(57.0, 2.0, highest=5).numpy(), SAMPLE_RATE)
    assert hgs("render", "organ.wav", "-p", "57", "--loop", "--format", "sfz", "-o", "out").code == 0
    held = Player(tmp_path / "out" / "organ.sfz").play(57, 127, 6.0)
    pieces = held[SAMPLE_RATE // 2 :][: 5 * SAMPLE_RATE].reshape(100, -1)
    levels = 10 * np.log10((pieces**2).mean(1))
    assert levels.max() - levels.min() < 1.5
