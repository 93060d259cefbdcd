"""Soft and loud recordings of one key are told apart by loudness, and by colour where they are equally loud."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import soundfile
from conftest import RECORDINGS, Run
from sounds import harmonics
from torch import Tensor

from hgs_cli.audio.loudness import note_lufs
from hgs_cli.evaluation.recordings import read_note
from hgs_cli.multisample.layers import settle_layers
from hgs_cli.multisample.names import SampleFacts
from hgs_cli.pipeline import Inversion, Model, invert
from hgs_cli.spectrum import SAMPLE_RATE

KEYS = (48.0, 55.0, 62.0, 69.0)
SOFT, LOUD = 2.2, 1.0  # how steeply harmonics fall


def strike(key: float, steepness: float, level: float = 0.3) -> Tensor:
    return level * harmonics(key, level=lambda k: k**-steepness, decay=2.0)


def layers_of(model: Model, sounds: Sequence[Tensor], keys: Sequence[float]) -> tuple[list[int], bool]:
    heard = [invert(model, sound, SAMPLE_RATE, pitch=key) for sound, key in zip(sounds, keys, strict=True)]
    return settle_layers([SampleFacts(Path("a.wav"), None, None, "", 0) for _ in heard], heard)


def normalised(sound: Tensor) -> Tensor:
    made: Tensor = sound * 10.0 ** ((-24.0 - note_lufs(sound)) / 20.0)
    return made


def test_equally_loud_recordings_are_told_apart_by_colour(model: Model) -> None:
    sounds = [normalised(strike(key, steepness)) for key in KEYS for steepness in (LOUD, SOFT)]
    assert layers_of(model, sounds, [key for key in KEYS for _ in range(2)]) == ([1, 0] * len(KEYS), True)


def test_a_key_with_one_recording_among_them_is_a_loud_one(model: Model) -> None:
    sounds = [normalised(strike(key, steepness)) for key in KEYS[:3] for steepness in (SOFT, LOUD)]
    layers, _ = layers_of(model, [*sounds, strike(KEYS[3], SOFT)], [*(key for key in KEYS[:3] for _ in range(2)), 69.0])
    assert layers == [0, 1, 0, 1, 0, 1, 1]


def test_two_takes_of_each_dynamic_are_told_apart_by_colour(model: Model) -> None:
    sounds = [normalised(strike(key, steepness)) for key in KEYS for steepness in (SOFT, SOFT + 0.1, LOUD, LOUD + 0.1)]
    assert layers_of(model, sounds, [key for key in KEYS for _ in range(4)]) == ([0, 0, 1, 1] * len(KEYS), True)


def test_takes_that_differ_a_little_are_one_layer(model: Model) -> None:
    sounds = [normalised(strike(key, steepness)) for key in KEYS for steepness in (LOUD, LOUD + 0.15)]
    assert layers_of(model, sounds, [key for key in KEYS for _ in range(2)]) == ([0] * 2 * len(KEYS), False)


def test_a_single_key_is_not_told_apart_by_colour(model: Model) -> None:
    sounds = [normalised(strike(57.0, steepness)) for steepness in (SOFT, LOUD)]
    assert layers_of(model, sounds, [57.0, 57.0]) == ([0, 0], False)


def test_louder_recordings_are_the_upper_layer_whatever_their_colour(model: Model) -> None:
    sounds = [strike(key, *how) for key in KEYS for how in ((SOFT, 0.4), (LOUD, 0.1))]
    assert layers_of(model, sounds, [key for key in KEYS for _ in range(2)]) == ([1, 0] * len(KEYS), False)


def test_one_uneven_pair_of_takes_makes_no_layer(model: Model) -> None:
    levels = (0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.15)  # the last take lies 6 dB lower
    keys = [key for key in KEYS for _ in range(2)]
    sounds = [strike(key, LOUD, level) for key, level in zip(keys, levels, strict=True)]
    assert layers_of(model, sounds, keys) == ([0] * 8, False)


def test_a_pair_that_differs_less_than_others_has_two_layers_too(model: Model) -> None:
    levels = (0.1, 0.3, 0.1, 0.3, 0.1, 0.3, 0.25, 0.3)
    keys = [key for key in KEYS for _ in range(2)]
    sounds = [strike(key, LOUD, level) for key, level in zip(keys, levels, strict=True)]
    assert layers_of(model, sounds, keys) == ([0, 1] * 4, False)


def test_layers_told_by_colour_are_said_and_played(hgs: Run, tmp_path: Path) -> None:
    (tmp_path / "gong").mkdir()
    for key in KEYS:
        for name, steepness in (("a", LOUD), ("b", SOFT)):
            sound = normalised(strike(key, steepness))
            soundfile.write(tmp_path / "gong" / f"gong_{key:03.0f}_{name}.wav", sound.numpy(), SAMPLE_RATE)
    done = hgs("invert", "gong", "--multisample")
    assert "dynamic layers are told by their colour" in done.err
    assert "2 dynamic layers" in done.err
    lines = hgs("render", "gong.hgs", "-p", "55", "--json").out.splitlines()
    assert [json.loads(line)["recording"] for line in lines] == ["gong_055_b", "gong_055_a"]


@pytest.mark.real
@pytest.mark.weights
@pytest.mark.thorough
@pytest.mark.parametrize("name", ["splendid-piano", "fashionbass", "shiny-guitar-acoustic"])
def test_layers_of_libraries_that_are_normalised_are_told_apart(released: Model, name: str) -> None:
    rows = json.loads((RECORDINGS / "real" / "manifest.json").read_text())["files"]
    by_dynamic = {
        dynamic: {row["midi"]: row for row in rows if row["instrument"] == name and row["dynamic"] == dynamic}
        for dynamic in ("soft", "loud")
    }
    both = sorted(by_dynamic["soft"].keys() & by_dynamic["loud"].keys())[::3]
    found: list[Inversion] = []
    for key in both:
        for dynamic in ("loud", "soft"):
            audio = normalised(read_note(RECORDINGS / "real" / by_dynamic[dynamic][key]["file"]))
            found.append(invert(released, audio, SAMPLE_RATE, pitch=float(key)))
    layers, by_colour = settle_layers([SampleFacts(Path("a.wav"), None, None, "", 0) for _ in found], found)
    assert by_colour
    right = sum(layers[at : at + 2] == [1, 0] for at in range(0, len(layers), 2))
    assert right >= 0.9 * len(both)
