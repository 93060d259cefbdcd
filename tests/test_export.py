"""Samplers find every note: zones, chunks inside sound files, SFZ and DecentSampler presets."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
from conftest import tone
from hypothesis import given
from hypothesis import strategies as st
from sampler_players import RATE, cents_off, looped_sine, needs, play, read_chunk, run

from hgs_cli.audio.loop import Loop
from hgs_cli.errors import OutputError
from hgs_cli.export.dspreset import dspreset_text
from hgs_cli.export.riff import add_sampler_chunk, add_sampler_chunks_aiff
from hgs_cli.export.sfz import check_sfz_path, sfz_text
from hgs_cli.export.zones import Sample, velocity_gain, zones

SUBTYPES = ("PCM_16", "PCM_24", "FLOAT")


def samples(
    pitches: Sequence[float], layer: int = 0, loop: Loop | None = None, folder: Path = Path("notes")
) -> list[Sample]:
    return [Sample(folder / f"l{layer} {pitch}.wav", pitch, layer, 44_100, 44_100, 1, loop) for pitch in pitches]


# --- zones ----------------------------------------------------------------------------------------------------------


PITCHES = st.lists(st.floats(0, 127), min_size=1, max_size=20)


@given(PITCHES)
def test_every_key_plays_one_sample_the_nearest(pitches: list[float]) -> None:
    sounding = [zone for zone in zones(samples(pitches)) for _ in range(zone.low_key, zone.high_key + 1)]
    assert len(sounding) == 128
    for key, zone in enumerate(sounding):
        assert zone.low_key <= key <= zone.high_key
        assert abs(zone.sample.pitch - key) <= min(abs(pitch - key) for pitch in pitches) + 1e-9


@pytest.mark.parametrize(
    ("layers", "ends"), [(1, [127]), (2, [64, 127]), (3, [42, 85, 127]), (5, [25, 51, 76, 102, 127])]
)
def test_layers_share_the_velocities(layers: int, ends: list[int]) -> None:
    found = zones([sample for layer in range(layers) for sample in samples([40.0 + layer, 70.0], layer)])
    for layer, (start, end) in enumerate(zip([1, *(end + 1 for end in ends)], ends, strict=False)):
        own = [zone for zone in found if zone.sample.layer == layer]
        assert {(zone.low_velocity, zone.high_velocity) for zone in own} == {(start, end)}
        assert (own[0].low_key, own[-1].high_key) == (0, 127)


@given(PITCHES)
def test_a_zone_is_tuned_to_its_nearest_note(pitches: list[float]) -> None:
    for zone in zones(samples(pitches)):
        assert zone.root_key - zone.tune_cents / 100 == pytest.approx(zone.sample.pitch)
        assert abs(zone.tune_cents) <= 50 + 1e-6


def test_a_key_halfway_between_two_notes_plays_the_lower() -> None:
    assert [(zone.low_key, zone.high_key) for zone in zones(samples([60, 62, 65]))] == [(0, 61), (62, 63), (64, 127)]


def test_a_sample_that_no_key_is_nearest_to_is_left_out() -> None:
    assert [zone.sample.pitch for zone in zones(samples([60, 60.2, 60.4, 62]))] == [60, 60.4, 62]


def test_no_samples_make_no_zones() -> None:
    assert zones([]) == []


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 8])
def test_louder_keys_are_louder_and_layers_are_not_softened_twice(layers: int) -> None:
    gains = [velocity_gain(velocity, layers) for velocity in range(1, 128)]
    assert gains == sorted(set(gains))
    assert gains[-1] == 1.0
    if layers > 1:  # at its hardest, the softest layer
        assert 20 * math.log10(velocity_gain(round(127 / layers), layers)) > -7.0


# --- chunks in sound files ------------------------------------------------------------------------------------------


def written(path: Path, subtype: str, n_frames: int) -> Path:
    soundfile.write(path, tone()[:n_frames], RATE, subtype=subtype, format=path.suffix[1:].upper())
    return path


@pytest.mark.parametrize("subtype", SUBTYPES)
@pytest.mark.parametrize("n_frames", [5000, 5001])
def test_the_sound_stays_as_it_is_whatever_is_told_of_it(tmp_path: Path, subtype: str, n_frames: int) -> None:
    wave, aiff = (written(tmp_path / name, subtype, n_frames) for name in ("a.wav", "a.aiff"))
    before = [soundfile.read(path)[0] for path in (wave, aiff)]
    add_sampler_chunk(wave, 60, 10.0, Loop(1000, 4000), RATE)
    add_sampler_chunks_aiff(aiff, 60, 10.0, Loop(1000, 4000))
    for path, audio in zip((wave, aiff), before, strict=True):
        assert np.array_equal(soundfile.read(path)[0], audio)
        assert len(audio) == n_frames
        data = path.read_bytes()
        assert len(data) % 2 == 0
        assert struct.unpack("<I" if path is wave else ">I", data[4:8])[0] == len(data) - 8


@pytest.mark.parametrize("subtype", SUBTYPES)
@pytest.mark.parametrize(
    ("cents", "note", "fraction"), [(0.0, 60, 0.0), (29.5, 60, 0.295), (-29.5, 59, 0.705), (-0.4, 60, 0.0)]
)
def test_wav_files_tell_their_pitch_and_loop(
    tmp_path: Path, subtype: str, cents: float, note: int, fraction: float
) -> None:
    path = written(tmp_path / "a.wav", subtype, 5001)
    add_sampler_chunk(path, 60, cents, Loop(1000, 4000), RATE, keys=(58, 61), velocities=(64, 127))
    told = run(needs("sndfile-info", "sndfile-programs"), path)
    assert f"Midi Note    : {note}\n" in told
    # libsndfile prints half the fraction's reciprocal.
    printed = re.search(r"Pitch Fract. : ([\d.]+)", told)
    assert printed is not None
    assert float(printed[1]) == pytest.approx(0.5 / fraction if fraction else 0.0, abs=1e-4)
    assert "Type :  0  Start :  1000  End :  3999  Fraction :     0  Count :     0" in told
    assert "Period       : 22676 nsec" in told
    assert read_chunk(path, b"inst") == bytes([60, round(-cents) % 256, 0, 58, 61, 64, 127])


def test_a_one_shot_has_no_loop(tmp_path: Path) -> None:
    program = needs("sndfile-info", "sndfile-programs")
    wave, aiff = (written(tmp_path / name, "PCM_16", 5001) for name in ("a.wav", "a.aiff"))
    add_sampler_chunk(wave, 60, 0.0, None, RATE)
    add_sampler_chunks_aiff(aiff, 60, 0.0, None)
    assert "Loop Count   : 0" in run(program, wave)
    told = run(program, aiff)
    assert "MARK" not in told
    assert "forward" not in told


def test_the_lowest_and_highest_notes_can_be_told(tmp_path: Path) -> None:
    for key, cents in ((0, -20.0), (127, 0.0)):
        path = written(tmp_path / f"{key}.wav", "PCM_16", 5000)
        add_sampler_chunk(path, key, cents, None, RATE)
        data = read_chunk(path, b"smpl")
        assert data is not None
        assert struct.unpack("<2I", data[12:20]) == (key, 0)


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_aiff_files_tell_their_pitch_and_loop(tmp_path: Path, subtype: str) -> None:
    path = written(tmp_path / "a.aiff", subtype, 5001)
    add_sampler_chunks_aiff(path, 58, -29.4, Loop(1000, 4000), keys=(55, 61), velocities=(1, 63))
    told = " ".join(run(needs("sndfile-info", "sndfile-programs"), path).split())
    assert "Base Note : 58 Detune : 29 Low Note : 55 High Note : 61 Low Vel. : 1 High Vel. : 63" in told
    assert "Mark ID : 1 Position : 1000" in told
    assert "Mark ID : 2 Position : 4000" in told  # between the last sample of the loop and the next
    assert "Sustain mode : 801 => forward begin : 1 end : 2" in told


# --- SFZ ------------------------------------------------------------------------------------------------------------


def regions(text: str) -> list[dict[str, str]]:
    """What an SFZ player makes of a text: a region's opcodes with those of its group and the global ones."""
    found: list[dict[str, str]] = []
    levels: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        content = re.sub(r"//.*", "", line).strip()
        if content.startswith("<"):
            header = content[1 : content.index(">")]
            levels[header] = {}
            content = content[content.index(">") + 1 :]
            if header == "region":
                found.append(levels["region"])
                levels["region"].update(levels["global"] | levels["group"])
        for opcode in re.finditer(r"(\w+)=(.*?)(?=\s+\w+=|\s*$)", content):
            levels[header][opcode[1]] = opcode[2]
            if header == "region":
                found[-1][opcode[1]] = opcode[2]
    return found


def test_sfz_regions_say_what_the_zones_say(tmp_path: Path) -> None:
    made = zones(
        samples([47.6, 60.0], 0, Loop(100, 900), tmp_path / "my notes")
        + samples([52.3], 1, None, tmp_path / "my notes")
    )
    text = sfz_text(made, tmp_path, "my\nbass", 0.25)
    assert [
        (r["sample"], r["lokey"], r["hikey"], r["lovel"], r["hivel"], r["pitch_keycenter"], r["tune"])
        for r in regions(text)
    ] == [
        ("my notes/l0 47.6.wav", "0", "53", "1", "64", "48", "40"),
        ("my notes/l0 60.0.wav", "54", "127", "1", "64", "60", "0"),
        ("my notes/l1 52.3.wav", "0", "127", "65", "127", "52", "-30"),
    ]
    assert [(r["loop_mode"], r.get("loop_start"), r.get("loop_end")) for r in regions(text)] == [
        ("loop_continuous", "100", "899"),
        ("loop_continuous", "100", "899"),
        ("no_loop", None, None),
    ]
    assert {r["ampeg_release"] for r in regions(text)} == {"0.250"}
    assert "// my bass\n" in text


def test_sounds_that_ring_out_do_not_stop_with_the_key(tmp_path: Path) -> None:
    made = zones(samples([60.0]))
    (region,) = regions(sfz_text(made, tmp_path, "snare", math.inf))
    assert region["loop_mode"] == "one_shot"
    assert "ampeg_release" not in region
    (sample,) = ElementTree.fromstring(dspreset_text(made, tmp_path, "snare", math.inf)).iter("sample")
    assert sample.attrib["ampEnvEnabled"] == "false"


def test_layers_take_a_part_of_the_velocity_response(tmp_path: Path) -> None:
    assert "amp_vel" not in sfz_text(zones(samples([60.0])), tmp_path, "a", 0.2)
    (low, high) = regions(sfz_text(zones(samples([60.0]) + samples([60.0], 1)), tmp_path, "a", 0.2))
    for region in (low, high):
        assert float(region["amp_velcurve_64"]) == pytest.approx(64 / 127, abs=1e-4)
        assert float(region["amp_velcurve_127"]) == 1.0


@pytest.mark.parametrize("name", ["a&b", "ü 日本", "F#3 (1)", "it's, 50%", "a  b", "[x]{y}~`!@^+;"])
def test_sfz_takes_usual_names(name: str) -> None:
    check_sfz_path(f"{name}/{name}.wav")
    (region,) = regions(sfz_text(zones(samples([60.0], folder=Path(name))), Path(), name, 0.2))
    assert region["sample"] == f"{name}/l0 60.0.wav"


@pytest.mark.parametrize("name", ["cash$", "a=b", "a <b", "back\\slash", "*saw", 'quo"te', " a"])
def test_names_that_sfz_cannot_hold_are_refused(name: str) -> None:
    with pytest.raises(OutputError, match="choose a name without"):
        sfz_text(zones(samples([60.0], folder=Path(name))), Path(), "a", 0.2)


@pytest.mark.parametrize("name", ["bell\a", "line\nbreak", "\udcff"])
def test_names_that_are_no_text_are_refused(name: str) -> None:
    for text in (sfz_text, dspreset_text):
        with pytest.raises(OutputError, match="printable"):
            text(zones(samples([60.0], folder=Path(name))), Path(), "a", 0.2)


def test_polyphone_reads_the_sfz_and_plays_in_tune(tmp_path: Path) -> None:
    polyphone = needs("polyphone", "polyphone")
    made = zones([looped_sine(tmp_path / "My Samples", pitch) for pitch in (45.0, 57.71, 80.49)])
    for zone in made:  # what the sound files tell is not added to what the SFZ file does
        add_sampler_chunk(zone.sample.path, zone.root_key, -zone.tune_cents, zone.sample.loop, RATE)
    (tmp_path / "sines.sfz").write_text(sfz_text(made, tmp_path, "sines", 0.05), encoding="utf-8")
    run(polyphone, "-1", "-i", tmp_path / "sines.sfz", "-d", tmp_path, "-o", "made")
    keys = range(30, 100, 5)
    audio = play(tmp_path / "made.sf2", [(i * 0.5, i * 0.5 + 0.4, key, 100) for i, key in enumerate(keys)], 8.0)
    for i, key in enumerate(keys):
        assert abs(cents_off(audio[round((i * 0.5 + 0.05) * RATE) : round((i * 0.5 + 0.35) * RATE), 0], key)) < 1.0


# --- DecentSampler --------------------------------------------------------------------------------------------------


def test_dspreset_samples_say_what_the_zones_say(tmp_path: Path) -> None:
    folder = tmp_path / 'a "b" & <c>'
    made = zones(samples([47.6], 0, Loop(100, 900), folder) + samples([52.3], 1, None, folder))
    root = ElementTree.fromstring(dspreset_text(made, tmp_path, "A & B", 0.25).encode())
    low, high = (group.find("sample") for group in root.iter("group"))
    assert low is not None
    assert high is not None
    expected = {
        "path": 'a "b" & <c>/l0 47.6.wav',
        "rootNote": "48", "loNote": "0", "hiNote": "127", "loVel": "1", "hiVel": "64",
        "tuning": "0.4", "loopEnabled": "true", "loopStart": "100", "loopEnd": "899",
    }  # fmt: skip
    assert low.attrib == expected
    groups = root.find("groups")
    assert groups is not None
    assert groups.attrib == {"attack": "0", "release": "0.25"}
    assert (high.get("loopEnabled"), high.get("loopStart"), high.get("tuning")) == ("false", None, "-0.3")
    assert (high.get("loVel"), high.get("hiVel")) == ("65", "127")
    label = root.find("ui/tab/label")
    assert label is not None
    assert label.get("text") == "A & B"


def test_the_release_knob_starts_where_the_preset_does(tmp_path: Path) -> None:
    """DecentSampler sets what a knob is bound to when it opens a preset."""
    made = zones(samples([60.0]))
    for release_s in (0.0, 0.3, 25.0):
        root = ElementTree.fromstring(dspreset_text(made, tmp_path, "a", release_s).encode())
        knobs = {knob.get("label"): knob for knob in root.iter("labeled-knob")}
        assert float(knobs["Release"].get("value", "nan")) == release_s
        assert float(knobs["Release"].get("maxValue", "nan")) >= release_s
        binding = knobs["Reverb"].find("binding")
        assert binding is not None
        assert root.findall("effects/effect")[int(binding.get("position", "9"))].get("type") == "reverb"


def test_decent_sampler_notes_are_tuned_more_finely_than_a_cent(tmp_path: Path) -> None:
    (made,) = zones(samples([60.1234]))
    root = ElementTree.fromstring(dspreset_text([replace(made)], tmp_path, "a", 0.1).encode())
    (sample,) = root.iter("sample")
    assert float(sample.attrib["tuning"]) == pytest.approx(-0.1234, abs=1e-5)
