"""Many recordings are one instrument: every key its own note, no step where the recording that carries it changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import tone

from hgs_cli.audio.loudness import measure_lufs
from hgs_cli.errors import UsageError
from hgs_cli.inversion import Inversion
from hgs_cli.pipeline import Instrument, Model, Settings, invert, make_instrument, mix_instruments, play, synthesize
from hgs_cli.pitch import NoteKey, midi_to_hz
from hgs_cli.sampler.finish import Finish
from hgs_cli.sampler.multisample import Layer, Multisample, Voicing, make_multisample
from hgs_cli.sampler.playing import make_notes
from hgs_cli.spectrum import SAMPLE_RATE

KEYS = (45.0, 57.0, 69.0)


def heard(model: Model, key: float, level: float = 0.3, partials: int = 6) -> Inversion:
    """A tone at a key, the duller the fewer partials it has."""
    time_s = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    hz = midi_to_hz(key)
    parts = [np.sin(2 * np.pi * hz * n * time_s + n) / n for n in range(1, partials + 1) if n * hz < 20_000.0]
    sound = level * np.sum(parts, 0) * np.exp(-time_s) * np.minimum(1.0, time_s / 0.005)
    return invert(model, torch.from_numpy(sound.astype(np.float32)), SAMPLE_RATE)


@pytest.fixture(scope="module")
def recordings(model: Model) -> list[Instrument]:
    return [make_instrument(model, heard(model, key)) for key in KEYS]


@pytest.fixture(scope="module")
def instrument(recordings: list[Instrument]) -> Multisample:
    return make_multisample(recordings, ["low", "middle", "high"])


def test_at_a_recorded_key_the_note_is_that_recording(
    model: Model, recordings: list[Instrument], instrument: Multisample
) -> None:
    for one in recordings:
        note = play(model, instrument, [one.stands_at], Settings()).notes[0].audio
        own = synthesize(model, one, [one.stands_at], Settings())[0]
        assert torch.allclose(note / note.abs().max(), own / own.abs().max(), atol=1e-3)


def test_a_note_between_two_is_carried_by_the_nearer_and_shaped_by_both(instrument: Multisample) -> None:
    layer = instrument.layers[0]
    low, middle, high = layer.keys
    assert layer.voicing(low) == Voicing(0)
    assert layer.voicing(low + 3.0) == Voicing(0, 1, pytest.approx(3.0 / (middle - low)))
    assert layer.voicing(middle - 3.0) == Voicing(1, 0, pytest.approx(3.0 / (middle - low)))
    assert layer.voicing(high + 5.0).carrier == 2
    assert layer.voicing(high + 5.0).neighbour == 1
    assert all(layer.voicing(low + step).share <= 0.5 for step in range(24))


def test_keys_are_equally_loud_where_the_recordings_were_not(model: Model) -> None:
    uneven = [
        make_instrument(model, heard(model, key, level)) for key, level in zip(KEYS, (0.02, 0.5, 0.1), strict=True)
    ]
    made = make_multisample(uneven, ["a", "b", "c"])
    notes = play(model, made, [float(key) for key in range(45, 70, 2)], Settings()).notes
    lufs = [measure_lufs(note.audio) for note in notes]
    assert max(lufs) - min(lufs) < 0.5
    played = play(model, made, [45.0, 57.0, 69.0], Settings(level="natural")).notes
    soft, loud, between = (measure_lufs(note.audio) for note in played)
    assert loud - soft == pytest.approx(20 * np.log10(25.0), abs=2.5)
    assert soft < between < loud


def test_colour_goes_from_one_recording_to_the_next_without_a_step(model: Model) -> None:
    dull, bright = (make_instrument(model, heard(model, key, partials=n)) for key, n in ((50.0, 2), (62.0, 24)))
    made = make_multisample([dull, bright], ["dull", "bright"])
    notes = play(model, made, [float(key) for key in range(50, 63)], Settings()).notes
    levels = model.log_mel(torch.stack([note.audio[:SAMPLE_RATE] for note in notes]))[:, :, 5:60].clamp(min=-0.2)
    steps = (levels[1:] - levels[:-1]).abs().mean((1, 2))
    assert float(steps[5:7].max()) < 2.0 * float(steps.median())  # the carrier changes at 56


def test_takes_of_a_key_come_in_turn(model: Model) -> None:
    takes = [make_instrument(model, heard(model, 57.0, partials=n)) for n in (3, 12)]
    made = make_multisample(takes, ["first", "second"])
    assert made.n_takes == 2
    notes = list(make_notes(model, made, [NoteKey(60.0, 0, take) for take in range(3)], Settings(), Finish()))
    assert not torch.allclose(notes[0].audio, notes[1].audio, atol=1e-3)
    assert torch.allclose(notes[0].audio, notes[2].audio, atol=1e-5)


def test_recorded_layers_are_played_and_softer_ones_made_of_a_single_one(recordings: list[Instrument]) -> None:
    two = make_multisample(recordings, ["a", "b", "c"], [0, 1, 1])
    assert [two.layer(index, 2)[0].layers[0].names for index in range(2)] == [("a",), ("b", "c")]
    assert [two.layer(index, 2)[1] for index in range(2)] == [0.0, 0.0]
    one = make_multisample(recordings, ["a", "b", "c"])
    assert [one.layer(index, 3)[1] for index in range(3)] == [1.0, 0.5, 0.0]


def test_a_recording_can_stay_as_it_was_tuned(model: Model) -> None:
    flat = make_instrument(model, heard(model, 56.8))
    made = make_multisample([flat], ["flat"], keys=[57.0])
    note = play(model, made, [57.0], Settings()).notes[0].audio
    own = synthesize(model, flat, [flat.stands_at], Settings())[0]
    assert torch.allclose(note / note.abs().max(), own / own.abs().max(), atol=1e-3)


def test_what_is_no_set_of_recordings_is_refused(model: Model, recordings: list[Instrument]) -> None:
    with pytest.raises(UsageError):
        make_multisample([], [])
    with pytest.raises(UsageError):
        make_multisample(recordings, ["one name"])
    inversions = [invert(model, torch.from_numpy(tone()), SAMPLE_RATE), heard(model, 50.0)]
    with pytest.raises(UsageError, match="mix"):
        make_multisample([mix_instruments(model, inversions, [0.5, 0.5])], ["mix"])


def test_a_layer_of_one_recording_plays_everywhere(recordings: list[Instrument]) -> None:
    alone = Layer((recordings[0],), ("low",))
    assert alone.voicing(100.0) == Voicing(0)
