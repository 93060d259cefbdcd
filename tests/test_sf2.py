"""A SoundFont plays every key in tune, holds its loops, and chooses its layers: heard through FluidSynth."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import few_of
from numpy.typing import NDArray
from sampler_players import RATE, beside_sine_db, between, cents_off, looped_sine, needs, peak_db, play, run

from hgs_cli.audio.loop import Loop
from hgs_cli.errors import OutputError
from hgs_cli.export.sf2 import write_sf2
from hgs_cli.export.zones import Sample, Zone, velocity_gain, zones
from hgs_cli.pitch import midi_to_hz

PITCHES = (30.3, 45.0, 57.71, 64.2, 80.49, 96.5)


def read(sample: Sample) -> NDArray[np.float32]:
    audio: NDArray[np.float32] = soundfile.read(sample.path, dtype="float32")[0]
    return audio


def soundfont(folder: Path, samples: list[Sample], release_s: float = 0.05) -> Path:
    path = folder / "made.sf2"
    write_sf2(path, "Tést böx", zones(samples), read, release_s)
    return path


@pytest.mark.parametrize("keys", few_of([range(2, 128, 6), range(128)], range(2, 128, 6)))
def test_every_key_is_in_tune(tmp_path: Path, keys: range) -> None:
    path = soundfont(tmp_path, [looped_sine(tmp_path, pitch) for pitch in PITCHES])
    begins = {key: 0.35 * place for place, key in enumerate(keys)}
    audio = play(path, [(begin, begin + 0.3, key, 100) for key, begin in begins.items()], 0.35 * len(keys) + 1.2)
    off = [cents_off(between(audio, begin + 0.03, begin + 0.28), key) for key, begin in begins.items()]
    assert max(map(abs, off)) < 0.6  # corrections are whole cents


@pytest.mark.parametrize("rate", [22_050, 48_000])
def test_other_sample_rates_are_in_tune(tmp_path: Path, rate: int) -> None:
    audio = play(soundfont(tmp_path, [looped_sine(tmp_path, 60.2, rate=rate)]), [(0.0, 0.5, 62, 100)], 0.6)
    assert abs(cents_off(between(audio, 0.05, 0.45), 62)) < 0.6


@pytest.mark.parametrize("pitch", [48.3, 60.0, 80.49])
def test_a_held_note_goes_on_without_a_click(tmp_path: Path, pitch: float) -> None:
    looped = looped_sine(tmp_path, pitch)
    assert looped.loop is not None
    time = np.arange(5 * RATE) / RATE
    long = replace(looped, path=tmp_path / "long.wav", n_frames=time.size, loop=None)
    soundfile.write(long.path, 0.5 * np.sin(2 * np.pi * midi_to_hz(looped.pitch) * time), RATE, subtype="FLOAT")
    wrong = replace(looped, loop=replace(looped.loop, end=looped.loop.end - 10))
    held, plain, clicking = (
        between(play(soundfont(tmp_path, [sample]), [(0.0, 2.2, 60, 127)], 2.3), 0.1, 2.1)
        for sample in (looped, long, wrong)
    )
    assert beside_sine_db(held, 60) == pytest.approx(beside_sine_db(plain, 60), abs=3.0)  # the player's interpolation
    assert beside_sine_db(held, 60) < -55.0 < -35.0 < beside_sine_db(clicking, 60)
    blocks = [peak_db(block) for block in np.array_split(held, 10)]
    assert max(blocks) - min(blocks) < 0.1


@pytest.mark.parametrize(("start", "end"), [(0, 10), (3, 13), (0, 2000), (1990, 2000), (1000, 1010)])
def test_loops_at_the_ends_and_of_few_samples_sound_as_any_other(tmp_path: Path, start: int, end: int) -> None:
    """A sine of ten samples a period loops anywhere; players read around the loop, where there may be nothing."""
    path = tmp_path / "sine.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * np.arange(2000) / 10), RATE, subtype="FLOAT")
    pitch = 69.0 + 12.0 * np.log2(RATE / 10 / 440.0)
    heard = []
    for loop in (Loop(500, 1500), Loop(start, end)):
        sample = Sample(path, float(pitch), 0, 2000, RATE, 1, loop)
        heard.append(play(soundfont(tmp_path, [sample]), [(0.0, 0.5, 97, 127)], 0.6))
    assert peak_db(heard[0]) > -20.0
    assert peak_db(heard[0] - heard[1]) < -70.0


@pytest.mark.parametrize("loop", [Loop(0, 10), Loop(3, 100), Loop(50, 100), Loop(99, 100)])
def test_around_a_loop_there_is_what_players_read_ahead(tmp_path: Path, loop: Loop) -> None:
    audio = np.arange(100, dtype=np.float32) / np.float32(2**15)
    sample = Sample(Path("a.wav"), 60.0, 0, 100, RATE, 1, loop)
    write_sf2(tmp_path / "a.sf2", "a", zones([sample]), lambda sample: audio, 0.1)
    data = (tmp_path / "a.sf2").read_bytes()
    start, end, loop_start, loop_end = struct.unpack_from("<4I", data, data.index(b"shdr") + 8 + 20)
    assert start + 8 <= loop_start <= loop_end - 32
    assert loop_end + 8 <= end
    stored = np.frombuffer(data, "<i2", count=end + 46, offset=data.index(b"sdtasmpl") + 12)
    period = loop.end - loop.start
    assert [*stored[:end]] == [i if i < loop.end else loop.start + (i - loop.start) % period for i in range(end)]
    assert (loop_end - loop_start) % period == 0


def test_a_note_fades_while_its_loop_goes_on(tmp_path: Path) -> None:
    audio = play(soundfont(tmp_path, [looped_sine(tmp_path, 60.0)], release_s=1.0), [(0.0, 0.5, 60, 127)], 1.6)
    full = peak_db(between(audio, 0.3, 0.45))
    after = [peak_db(between(audio, 0.5 + wait, 0.52 + wait)) - full for wait in (0.1, 0.2, 0.4)]
    assert after == pytest.approx([-11.0, -21.0, -41.0], abs=3.0)  # 100 dB in a second


def test_a_one_shot_ends_with_its_sound(tmp_path: Path) -> None:
    sample = replace(looped_sine(tmp_path, 60.0), loop=None)
    audio = play(soundfont(tmp_path, [sample], release_s=np.inf), [(0.0, 0.01, 60, 127), (0.5, 1.4, 60, 127)], 1.5)
    length_s = sample.n_frames / RATE
    for start in (0.0, 0.5):  # a touched key rings out, a held one does not repeat
        assert peak_db(between(audio, start + length_s - 0.03, start + length_s)) > -15.0
        assert peak_db(between(audio, start + length_s + 0.01, start + 0.49)) < -90.0


def test_velocity_chooses_the_layer(tmp_path: Path) -> None:
    # Each layer is known by its octave.
    layers = [replace(looped_sine(tmp_path, 60.0 + 12 * i, layer=i), pitch=60.0) for i in range(3)]
    velocities = (1, 42, 43, 85, 86, 127)
    audio = play(soundfont(tmp_path, layers), [(0.5 * i, 0.5 * i + 0.4, 60, v) for i, v in enumerate(velocities)], 3.0)
    for i, octave in enumerate((0, 0, 1, 1, 2, 2)):
        assert abs(cents_off(between(audio, 0.5 * i + 0.05, 0.5 * i + 0.35), 60 + 12 * octave)) < 2.0


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_velocity_sets_the_level_as_in_the_other_formats(tmp_path: Path, layers: int) -> None:
    path = soundfont(tmp_path, [looped_sine(tmp_path, 60.0, layer=layer) for layer in range(layers)])
    velocities = (127, 100, 64, 20)
    audio = play(path, [(0.5 * i, 0.5 * i + 0.4, 60, v) for i, v in enumerate(velocities)], 2.0)
    full, *lower = [peak_db(between(audio, 0.5 * i + 0.05, 0.5 * i + 0.35)) for i in range(4)]
    for velocity, level in zip(velocities[1:], lower, strict=True):
        assert level - full == pytest.approx(20 * np.log10(velocity_gain(velocity, layers)), abs=0.5)


def test_no_player_darkens_soft_notes(tmp_path: Path) -> None:
    """The two default modulators from velocity (0x0102) to filter (8), of versions 2.04 and 2.01, are superseded."""
    data = soundfont(tmp_path, [looped_sine(tmp_path, 60.0)]).read_bytes()
    for amount_source in (0x0000, 0x0D02):
        assert struct.pack("<2Hh2H", 0x0102, 8, 0, amount_source, 0) in data


def test_stereo_stays_stereo(tmp_path: Path) -> None:
    audio = play(soundfont(tmp_path, [looped_sine(tmp_path, 60.0, channels=2)]), [(0.0, 1.0, 64, 127)], 1.1)
    left, right = between(audio, 0.1, 0.9), between(audio[:, ::-1], 0.1, 0.9)
    assert peak_db(left) - peak_db(right) == pytest.approx(6.02, abs=0.1)
    assert abs(cents_off(left, 64)) < 0.6
    assert abs(cents_off(right, 64)) < 0.6


def test_samples_are_rounded_to_the_nearest_step(tmp_path: Path) -> None:
    steps = np.array([0.4, 0.6, -0.6, 1.4, 32767.9, 40000, -40000, -32768] * 10, np.float32) / np.float32(2**15)
    sample = Sample(Path("a.wav"), 60.0, 0, 80, RATE, 1, None)
    write_sf2(tmp_path / "a.sf2", "a", zones([sample]), lambda sample: steps, 0.1)
    data = (tmp_path / "a.sf2").read_bytes()
    stored = np.frombuffer(data, "<i2", count=80 + 46, offset=data.index(b"sdtasmpl") + 12)
    assert stored[:8].tolist() == [0, 1, -1, 1, 32767, 32767, -32768, -32768]
    assert not stored[80:].any()


def test_one_sample_at_a_time_is_read(tmp_path: Path) -> None:
    calls = []

    def counted(sample: Sample) -> NDArray[np.float32]:
        calls.append(sample)
        return read(sample)

    made = zones([looped_sine(tmp_path, pitch) for pitch in PITCHES])
    split = [z for zone in made for z in (replace(zone, high_velocity=60), replace(zone, low_velocity=61))]
    write_sf2(tmp_path / "a.sf2", "a", split, counted, 0.1)
    assert calls == [zone.sample for zone in made]


def test_more_than_four_gigabytes_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    huge = [Sample(Path("a.wav"), pitch, 0, 2**27, RATE, 2, None) for pitch in range(40, 48)]
    with pytest.raises(OutputError, match=r"would be 4\.0 GB and can be 4 GB at most"):
        write_sf2(tmp_path / "a.sf2", "a", zones(huge), read, 0.1)
    assert not (tmp_path / "a.sf2").exists()


def test_more_zones_than_can_be_counted_are_refused(tmp_path: Path) -> None:
    sample = Sample(Path("a.wav"), 60.0, 0, 100, RATE, 1, None)
    with pytest.raises(OutputError, match="more than a SoundFont can hold"):
        write_sf2(tmp_path / "a.sf2", "a", [Zone(sample, 0, 127, 60, 0.0, 1, 127)] * 17_000, read, 0.1)


def test_polyphone_reads_the_same_zones(tmp_path: Path) -> None:
    polyphone = needs("polyphone", "polyphone")
    made = [looped_sine(tmp_path, pitch, layer) for layer in (0, 1) for pitch in (45.0, 57.71)]
    run(polyphone, "-3", "-i", soundfont(tmp_path, made), "-d", tmp_path, "-o", "back")
    (text,) = [path.read_text() for path in (tmp_path / "back").glob("*.sfz")]
    assert text.splitlines()[1] == "// Name      : Test box"
    found = [dict(line.split("=") for line in region.split()[1:] if "=" in line) for region in text.split("<region>")]
    expected = sorted(zones(made), key=lambda zone: (zone.low_key, zone.low_velocity))
    for region, zone in zip(
        sorted(found[1:], key=lambda region: (int(region["lokey"]), int(region["lovel"]))), expected, strict=True
    ):
        assert (int(region["lokey"]), int(region["hikey"])) == (zone.low_key, zone.high_key)
        assert (int(region["lovel"]), int(region["hivel"])) == (zone.low_velocity, zone.high_velocity)
        assert int(region["pitch_keycenter"]) == zone.root_key
        assert int(region.get("tune", "0")) == round(zone.tune_cents)
        assert zone.sample.loop is not None
        assert (int(region["loop_start"]), int(region["loop_end"])) == (
            zone.sample.loop.start,
            zone.sample.loop.end - 1,
        )


@pytest.mark.parametrize("name", ["", "日本", "a" * 300])
def test_any_name_fits(tmp_path: Path, name: str) -> None:
    sample = looped_sine(tmp_path, 60.0)
    write_sf2(tmp_path / "a.sf2", name, zones([sample]), read, 0.1)
    assert peak_db(play(tmp_path / "a.sf2", [(0.0, 0.2, 60, 127)], 0.3)) > -20.0
