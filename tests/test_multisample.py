"""Many recordings are one instrument: every key its own note, no step where the recording that carries it changes."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import Run
from PIL import Image
from sounds import brightness_hz, harmonics, levels_db

from hgs_cli.audio.loudness import measure_lufs
from hgs_cli.audio.noise_floor import noise_floor_db
from hgs_cli.errors import UsageError
from hgs_cli.export.plot import LAYOUT
from hgs_cli.inversion import Inversion
from hgs_cli.pipeline import Model, Settings, invert, make_instrument, play, synthesize
from hgs_cli.pitch import NoteKey, midi_to_hz
from hgs_cli.sampler.finish import Finish
from hgs_cli.sampler.multisample import Multisample, Voicing, make_multisample
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
def recordings(model: Model) -> list[Inversion]:
    return [heard(model, key) for key in KEYS]


@pytest.fixture(scope="module")
def instrument(model: Model, recordings: list[Inversion]) -> Multisample:
    return make_multisample(model, recordings, ["low", "middle", "high"])


def test_at_a_recorded_key_the_note_is_that_recording(
    model: Model, recordings: list[Inversion], instrument: Multisample
) -> None:
    for one in recordings:
        note = play(model, instrument, [one.stands_at], Settings()).notes[0].audio
        own = synthesize(model, make_instrument(model, one), [one.stands_at], Settings())[0]
        assert torch.allclose(note / note.abs().max(), own / own.abs().max(), atol=1e-3)


def test_a_note_between_two_is_carried_by_the_nearer_and_shaped_by_both(instrument: Multisample) -> None:
    layer = instrument.layers[0]
    low, middle, high = layer.keys
    assert layer.voicing(low) == Voicing(0)
    for pitch, carrier, neighbour in ((low + 3.0, 0, 1), (middle - 3.0, 1, 0)):
        voicing = layer.voicing(pitch)
        assert (voicing.carrier, voicing.neighbour) == (carrier, neighbour)
        assert voicing.share == pytest.approx(3.0 / (middle - low))
    assert layer.voicing(high + 5.0).carrier == 2
    assert layer.voicing(high + 5.0).neighbour == 1
    assert all(layer.voicing(low + step).share <= 0.5 for step in range(24))


def test_keys_are_equally_loud_where_the_recordings_were_not(model: Model) -> None:
    uneven = [heard(model, key, level) for key, level in zip(KEYS, (0.02, 0.5, 0.1), strict=True)]
    made = make_multisample(model, uneven)
    notes = play(model, made, [float(key) for key in range(45, 70, 2)], Settings()).notes
    lufs = [measure_lufs(note.audio) for note in notes]
    assert max(lufs) - min(lufs) < 0.5
    played = play(model, made, [45.0, 57.0, 69.0], Settings(level="natural")).notes
    soft, loud, between = (measure_lufs(note.audio) for note in played)
    assert loud - soft == pytest.approx(20 * np.log10(25.0), abs=2.5)
    assert soft < between < loud


def test_colour_goes_from_one_recording_to_the_next_without_a_step(model: Model) -> None:
    dull, bright = (heard(model, key, partials=n) for key, n in ((50.0, 2), (62.0, 24)))
    made = make_multisample(model, [dull, bright])
    notes = play(model, made, [float(key) for key in range(50, 63)], Settings()).notes
    levels = model.log_mel(torch.stack([note.audio[:SAMPLE_RATE] for note in notes]))[:, :, 5:60].clamp(min=-0.2)
    steps = (levels[1:] - levels[:-1]).abs().mean((1, 2))
    assert float(steps[5:7].max()) < 2.0 * float(steps.median())  # the carrier changes at 56


def test_a_key_whose_ring_a_meter_still_counts_is_no_louder_than_its_neighbours(model: Model) -> None:
    def rung(key: float, ring: float) -> Inversion:
        time_s = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
        level = np.exp(-5.0 * time_s) + ring * np.exp(-0.02 * time_s)
        sound = 0.3 * level * sum(np.sin(2 * np.pi * midi_to_hz(key) * n * time_s) / n for n in range(1, 6))
        return invert(model, torch.from_numpy(sound.astype(np.float32)), SAMPLE_RATE, pitch=key)

    made = make_multisample(model, [rung(50.0, 0.04), rung(62.0, 0.12)])
    notes = play(model, made, [float(key) for key in range(48, 66)], Settings()).notes
    loudest_db = torch.tensor([levels_db(note.audio, 0.1).max() for note in notes])
    assert float((loudest_db[1:] - loudest_db[:-1]).abs().max()) < 0.5


def test_takes_of_a_key_come_in_turn(model: Model) -> None:
    takes = [heard(model, 57.0, partials=n) for n in (3, 12)]
    made = make_multisample(model, takes)
    assert made.n_takes == 2
    notes = list(make_notes(model, made, [NoteKey(60.0, 0, take) for take in range(3)], Settings(), Finish()))
    assert not torch.allclose(notes[0].audio, notes[1].audio, atol=1e-3)
    assert torch.allclose(notes[0].audio, notes[2].audio, atol=1e-5)


def test_recorded_layers_are_played_and_softer_ones_made_of_a_single_one(
    model: Model, recordings: list[Inversion]
) -> None:
    two = make_multisample(model, recordings, ["a", "b", "c"], [0, 1, 1])
    assert [[each.name for each in two.layer(index, 2)[0].regions] for index in range(2)] == [["a"], ["b", "c"]]
    assert [two.layer(index, 2)[1] for index in range(2)] == [0.0, 0.0]
    one = make_multisample(model, recordings)
    assert [one.layer(index, 3)[1] for index in range(3)] == [1.0, 0.5, 0.0]


def test_layers_between_recorded_ones_are_made_of_both(model: Model) -> None:
    def played(key: float, steepness: float) -> Inversion:
        sound = 0.3 * harmonics(key, level=lambda k: k**-steepness, decay=1.0)
        return invert(model, sound, SAMPLE_RATE, pitch=key)

    recordings = [played(key, steepness) for steepness in (2.5, 0.8) for key in KEYS]
    made = make_multisample(model, recordings, layers=[0, 0, 0, 1, 1, 1])
    for pitch in (57.0, 61.0):
        colours = [
            brightness_hz(play(model, made.layer(index, 4)[0], [pitch], Settings()).notes[0].audio)
            for index in range(4)
        ]
        assert all(brighter > duller + 10.0 for duller, brighter in pairwise(colours))
    assert all(made.layer(index, 3)[1] == 0.0 for index in range(3))
    (voicing,) = made.layer(1, 3)[0].voicings(NoteKey(57.0))
    assert (voicing.dynamic, voicing.dynamic_share) == (1, 0.5)
    assert made.layer(1, 2)[0].voicings(NoteKey(57.0))[0].dynamic is None


def test_a_recording_can_stay_as_it_was_tuned(model: Model) -> None:
    flat = heard(model, 56.8)
    made = make_multisample(model, [flat], keys=[57.0])
    note = play(model, made, [57.0], Settings()).notes[0].audio
    own = synthesize(model, make_instrument(model, flat), [flat.stands_at], Settings())[0]
    assert torch.allclose(note / note.abs().max(), own / own.abs().max(), atol=1e-3)


def test_what_is_no_set_of_recordings_is_refused(model: Model, recordings: list[Inversion]) -> None:
    with pytest.raises(UsageError):
        make_multisample(model, [])
    with pytest.raises(UsageError):
        make_multisample(model, recordings, ["one name"])


def test_a_layer_of_one_recording_plays_everywhere(model: Model, recordings: list[Inversion]) -> None:
    alone = make_multisample(model, recordings[:1]).layers[0]
    assert alone.voicing(100.0) == Voicing(0)


# --- on the command line ---------------------------------------------------------------------------------------------


def record(folder: Path, name: str, key: float, partials: int = 6, level: float = 0.3) -> Path:
    folder.mkdir(exist_ok=True)
    time_s = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    parts = [np.sin(2 * np.pi * midi_to_hz(key) * n * time_s + n) / n for n in range(1, partials + 1)]
    soundfile.write(
        folder / name, level * np.sum(parts, 0) * np.exp(-2 * time_s) * np.minimum(1, time_s / 0.005), SAMPLE_RATE
    )
    return folder / name


@pytest.fixture
def piano(tmp_path: Path) -> Path:
    for name, key in (("A2", 45.0), ("A3", 57.0), ("A4", 69.0)):
        record(tmp_path / "takes", f"piano_{name}.wav", key)
    return tmp_path / "takes"


def test_a_folder_of_recordings_is_one_instrument_named_for_what_they_share(hgs: Run, piano: Path) -> None:
    done = hgs("render", str(piano), "--multisample", "-p", "A3,C4")
    assert done.code == 0
    assert done.out.splitlines() == ["piano/piano_057_A3.wav", "piano/piano_060_C4.wav"]
    assert "piano: 3 recordings from A2 to A4" in done.err


def test_json_tells_which_recordings_a_note_is_made_of(hgs: Run, piano: Path) -> None:
    lines = hgs("render", str(piano), "--multisample", "-p", "A3,C4", "--json").out.splitlines()
    known, between = (json.loads(line) for line in lines)
    assert (known["recording"], round(known["share"], 1)) == ("piano_A3", 0.0)
    assert (between["recording"], between["beside"], between["share"]) == ("piano_A3", "piano_A4", 0.25)


def test_one_file_holds_them_all_and_plays_the_same(hgs: Run, piano: Path, tmp_path: Path) -> None:
    assert hgs("invert", str(piano), "--multisample").out == "piano.hgs\n"
    told = json.loads(hgs("info", "piano.hgs", "--json").out)
    assert [each["name"] for each in told["recordings"]] == ["piano_A2", "piano_A3", "piano_A4"]
    assert "piano_A3" in hgs("info", "piano.hgs").out
    hgs("render", "piano.hgs", "-p", "62", "-o", "kept")
    hgs("render", str(piano), "--multisample", "-p", "62", "-o", "heard")
    kept, heard_ = (soundfile.read(next((tmp_path / name).glob("*.wav")))[0] for name in ("kept", "heard"))
    assert np.abs(kept - heard_).max() < 2e-3


def test_a_recording_that_is_another_note_than_its_name_is_told_and_taken_for_what_it_is(hgs: Run, piano: Path) -> None:
    (piano / "piano_A3.wav").rename(piano / "piano_D4.wav")
    done = hgs("render", str(piano), "--multisample", "-p", "A3", "--json")
    assert "piano_D4.wav is called D4 and is A3" in done.err
    assert json.loads(done.out)["recording"] == "piano_D4"


def test_libraries_that_call_middle_c_c3_are_read_so(hgs: Run, tmp_path: Path) -> None:
    for name, key in (("A1", 45.0), ("A2", 57.0), ("A3", 69.0)):
        record(tmp_path / "old", f"piano_{name}.wav", key)
    done = hgs("render", "old", "--multisample", "-p", "A3")
    assert "names call middle C C3" in done.err
    assert "warning" not in done.err


def test_the_same_recording_twice_counts_once(hgs: Run, piano: Path) -> None:
    shutil.copy(piano / "piano_A3.wav", piano / "piano_B3.wav")
    done = hgs("render", str(piano), "--multisample", "-p", "60")
    assert "piano_B3.wav is" in done.err
    assert "piano: 3 recordings" in done.err


def test_dynamics_and_takes_of_names_become_layers_and_round_robins(hgs: Run, tmp_path: Path) -> None:
    for dynamic, partials in (("pp", 2), ("ff", 12)):
        for take in (1, 2):
            record(tmp_path / "horn", f"horn_A3_{dynamic}_rr{take}.wav", 57.0, partials + take)
    files = hgs("render", "horn", "--multisample", "-p", "60", "-o", "out").out.split()
    assert files == [f"out/horn_060_C4_v{layer}_take{take}.wav" for layer in (1, 2) for take in (1, 2)]
    dark, _, bright, _ = (brightness_hz(torch.from_numpy(soundfile.read(tmp_path / file)[0])) for file in files)
    assert dark < 0.8 * bright


@pytest.mark.parametrize("noisy", [True, False])
def test_a_recording_much_noisier_than_its_neighbours_is_named(hgs: Run, piano: Path, noisy: bool) -> None:
    _make_noisy(piano, noisy)
    for command in (["invert"], ["render", "-p", "60", "-o", "notes"]):
        done = hgs(command[0], str(piano), "--multisample", "--keep-noise", *command[1:], "--json")
        assert ("the noise of piano_A3 is" in done.err) == noisy
        assert "lowered" not in done.err
        assert json.loads(done.out)["noisy"] == (["piano_A3"] if noisy else [])
    assert json.loads(hgs("render", "piano.hgs", "-p", "60", "--json").out)["noisy"] == (["piano_A3"] if noisy else [])


def test_a_noisy_recording_is_brought_to_the_noise_of_its_neighbours(hgs: Run, piano: Path, tmp_path: Path) -> None:
    _make_noisy(piano, True)
    done = hgs("render", str(piano), "--multisample", "-p", "57,60", "-o", "evened", "--json")
    assert "the noise of piano_A3 is" in done.err
    assert "lowered to it" in done.err
    assert all(json.loads(line)["noisy"] == [] for line in done.out.splitlines())
    hgs("render", str(piano), "--multisample", "--keep-noise", "-p", "57,60", "-o", "kept")
    for note in ("057_A3", "060_C4"):
        floors = [
            noise_floor_db(torch.from_numpy(soundfile.read(tmp_path / way / f"piano_{note}.wav", dtype="float32")[0]))
            for way in ("evened", "kept")
        ]
        assert floors[0] < floors[1] - 8.0


def _make_noisy(piano: Path, noisy: bool) -> None:
    """Four recordings, of which one is hissing, or none."""
    record(piano, "piano_A5.wav", 81.0)
    sound, rate = soundfile.read(piano / "piano_A3.wav")
    hiss = 10 ** (-30 / 20) * np.sqrt(np.mean(sound**2)) * np.random.default_rng(0).normal(size=len(sound))
    soundfile.write(piano / "piano_A3.wav", sound + (hiss if noisy else 0.0), rate)


def test_takes_are_kept_in_one_file_and_a_soundfont_says_that_it_has_the_first(hgs: Run, tmp_path: Path) -> None:
    for key, note in ((45.0, "A2"), (57.0, "A3")):
        for take in (1, 2):
            record(tmp_path / "harp", f"harp_{note}_rr{take}.wav", key, 3 + take)
    hgs("invert", "harp", "--multisample")
    for arguments in (["harp", "--multisample", "-o", "heard"], ["harp.hgs", "-o", "kept"]):
        alone = hgs("render", *arguments, "-p", "50", "--format", "sf2")
        assert "a SoundFont knows no round robin" in alone.err
        assert "takes were heard" not in alone.err
        beside = hgs("render", *arguments, "-p", "50", "--format", "sf2,sfz", "--force")
        assert len([path for path in beside.out.split() if path.endswith(".wav")]) == 2
        assert "a SoundFont knows no round robin" in beside.err
        assert "takes were heard" not in beside.err


def test_keys_with_fewer_takes_than_others_get_made_ones(hgs: Run, tmp_path: Path) -> None:
    for name, key in (("harp_A2_rr1", 45.0), ("harp_A2_rr2", 45.05), ("harp_A4_rr1", 69.0)):
        record(tmp_path / "harp", f"{name}.wav", key)
    files = hgs("render", "harp", "--multisample", "-p", "45,69", "-o", "out").out.split()
    assert len(files) == 4
    sounds = {file: soundfile.read(tmp_path / file)[0] for file in files}
    for note in ("045_A2", "069_A4"):
        first, second = (sounds[f"out/harp_{note}_take{take}.wav"] for take in (1, 2))
        assert np.abs(first - second).max() > 0.01


def test_layers_that_were_not_recorded_are_made_and_told(hgs: Run, tmp_path: Path) -> None:
    for dynamic, partials in (("pp", 2), ("ff", 12)):
        record(tmp_path / "horn", f"horn_A3_{dynamic}.wav", 57.0, partials)
    lines = hgs("render", "horn", "--multisample", "-p", "60", "--velocities", "3", "--json").out.splitlines()
    soft, between, loud = (json.loads(line) for line in lines)
    assert ("dynamic" in soft, "dynamic" in loud) == (False, False)
    assert (between["recording"], between["dynamic"], between["dynamic_share"]) == ("horn_A3_ff", "horn_A3_pp", 0.5)


def test_more_layers_than_there_can_be_are_told(hgs: Run, tmp_path: Path) -> None:
    for layer in range(1, 11):
        record(tmp_path / "harp", f"harp_A3_v{layer}.wav", 57.0, layer)
    done = hgs("render", "harp", "--multisample", "-p", "60", "--dry-run")
    assert len(done.out.split()) == 8
    assert (
        "10 dynamic layers were heard; 8 of them are played" in hgs("render", "harp", "--multisample", "-p", "60").err
    )


@pytest.mark.slow
def test_two_hundred_recordings_are_one_instrument(hgs: Run, tmp_path: Path) -> None:
    for key in range(24, 104, 2):
        for layer in range(1, 6):
            record(tmp_path / "grand", f"grand_{key:03d}_v{layer}.wav", key, 2 * layer)
    done = hgs("invert", "grand", "--multisample")
    assert "grand: 200 recordings from C1 to F#7, 5 dynamic layers" in done.err
    files = hgs("render", "grand.hgs", "-p", "24,61,103").out.split()
    assert len(files) == 15


def test_a_map_says_what_names_do_not(hgs: Run, tmp_path: Path) -> None:
    record(tmp_path / "raw", "one.wav", 45.0)
    record(tmp_path / "raw", "two.wav", 57.0)
    record(tmp_path / "raw", "other.wav", 69.0)
    (tmp_path / "raw" / "keys.csv").write_text("file,key\none.wav,A2\ntwo.wav,57\n")
    done = hgs("render", "raw", "--multisample", "--map", "raw/keys.csv", "-p", "50")
    assert done.code == 0
    assert "1 of 3 sounds are not in raw/keys.csv" in done.err
    assert "2 recordings from A2 to A3" in done.err
    refused = hgs("render", "raw", "--map", "raw/keys.csv")
    assert refused.code == 2
    assert "--multisample" in refused.err


def test_a_damaged_file_of_recordings_is_told_in_a_line(hgs: Run, piano: Path, tmp_path: Path) -> None:
    hgs("invert", str(piano), "--multisample", "-o", "whole.hgs")
    whole = (tmp_path / "whole.hgs").read_bytes()
    for name, data in (("short", whole[: len(whole) // 2]), ("bent", whole[:200] + bytes(400) + whole[600:])):
        (tmp_path / f"{name}.hgs").write_bytes(data)
        for command in (["render", f"{name}.hgs", "-p", "60"], ["info", f"{name}.hgs"]):
            done = hgs(*command)
            if (command[0], name) != ("info", "bent"):  # the index at its end is whole
                assert done.code == 3
                assert len(done.err.splitlines()) == 1
    assert not list(tmp_path.glob("short/*"))


def test_a_recording_that_cannot_be_read_fails_the_instrument_and_nothing_is_written(hgs: Run, piano: Path) -> None:
    (piano / "piano_E4.wav").write_text("no sound")
    done = hgs("render", str(piano), "--multisample", "-p", "60")
    assert done.code == 3
    assert done.out == ""
    assert "piano_E4.wav" in done.err


def test_a_picture_shows_which_recording_carries_which_key(hgs: Run, piano: Path, tmp_path: Path) -> None:
    hgs("render", str(piano), "--multisample", "-p", "45..69:12", "--plot", "-o", "out")
    together = Image.open(tmp_path / "out" / "piano.png")
    rows = np.array(together)[-LAYOUT.key_pixels - LAYOUT.margin : -LAYOUT.margin]
    colours = {tuple(rows[5, column]) for column in range(LAYOUT.margin, together.width - LAYOUT.margin)}
    assert len(colours) > 8  # of three recordings, paler towards their neighbours
