"""Several takes of every note, played in turn, and `.multisample` files, which hold them."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
import torch
from conftest import SNARE, Run, few_of, tone

from hgs_cli.audio.loop import Loop
from hgs_cli.audio.loudness import measure_lufs
from hgs_cli.export.dspreset import dspreset_text
from hgs_cli.export.multisample import write_multisample
from hgs_cli.export.sfz import sfz_text
from hgs_cli.export.zones import Sample, zones
from hgs_cli.sampler.settings import MAX_SEED, Settings
from hgs_cli.spectrum import SAMPLE_RATE


def taken(takes: int, layers: int = 1, loop: Loop | None = None) -> list[Sample]:
    return [
        Sample(Path("notes") / f"{pitch} {layer} {take}.wav", pitch, layer, 44_100, 44_100, 1, loop, take)
        for layer in range(layers)
        for take in range(takes)
        for pitch in (48.0, 60.25)
    ]


def read_map(path: Path) -> ElementTree.Element:
    with zipfile.ZipFile(path) as archive:
        return ElementTree.fromstring(archive.read("multisample.xml"))


# --- takes ------------------------------------------------------------------------------------------------------------


def test_every_take_has_all_keys_and_velocities() -> None:
    found = zones(taken(3, layers=2))
    for layer in range(2):
        for take in range(3):
            own = [zone for zone in found if (zone.sample.layer, zone.sample.take) == (layer, take)]
            assert [(zone.low_key, zone.high_key) for zone in own] == [(0, 54), (55, 127)]
            assert {zone.low_velocity for zone in own} == {1 if layer == 0 else 65}


def test_sfz_plays_takes_in_turn() -> None:
    text = sfz_text(zones(taken(3)), Path(), "x", 0.3)
    turns = re.findall(r"<region> lokey=(\d+) .*seq_length=3 seq_position=(\d)", text)
    assert sorted(turns) == [(key, str(turn)) for key in ("0", "55") for turn in (1, 2, 3)]
    assert "seq_" not in sfz_text(zones(taken(1)), Path(), "x", 0.3)


def test_decentsampler_plays_takes_in_turn() -> None:
    root = ElementTree.fromstring(dspreset_text(zones(taken(2)), Path(), "x", 0.3).split("\n", 1)[1])
    turns = [
        (one.get("loNote"), one.get("seqMode"), one.get("seqPosition"), one.get("seqLength"))
        for one in root.iter("sample")
    ]
    assert sorted(turns) == [(key, "round_robin", turn, "2") for key in ("0", "55") for turn in ("1", "2")]
    assert "seqMode" not in dspreset_text(zones(taken(1)), Path(), "x", 0.3)


@pytest.mark.parametrize("name", ["tone", "snare"])
def test_takes_differ_and_none_is_louder_than_another(hgs: Run, sound: Path, tmp_path: Path, name: str) -> None:
    source = SNARE if name == "snare" else sound
    made = hgs("render", str(source), "-p", "48,60", "--takes", "3", "--format", "sfz,multisample", "-o", "out")
    assert made.code == 0, made.err
    for midi in ("048_C3", "060_C4"):
        files = [tmp_path / "out" / f"{source.stem}_{midi}_take{take}.wav" for take in (1, 2, 3)]
        audio = [torch.from_numpy(soundfile.read(file, dtype="float32")[0]) for file in files]
        loudness = [measure_lufs(one, SAMPLE_RATE) for one in audio]
        assert max(loudness) - min(loudness) <= 0.5, loudness
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert not np.allclose(audio[one], audio[other], atol=1e-3)


def test_the_first_take_is_the_note_itself_and_the_seed_chooses_the_others(
    hgs: Run, sound: Path, tmp_path: Path
) -> None:
    for arguments in (
        ["-o", "plain"],
        ["--takes", "2", "-o", "one"],
        ["--takes", "3", "-o", "three"],
        ["--takes", "2", "--seed", "9", "-o", "other"],
    ):
        assert hgs("render", str(sound), "-p", "60", *arguments).code == 0
    first, second = (
        {
            folder: (tmp_path / folder / f"tone_060_C4_take{take}.wav").read_bytes()
            for folder in ("one", "three", "other")
        }
        for take in (1, 2)
    )
    assert first["one"] == first["three"] == (tmp_path / "plain" / "tone_060_C4.wav").read_bytes()
    assert second["one"] == second["three"] != second["other"]


def test_the_largest_seed_has_takes_too(hgs: Run, sound: Path) -> None:
    assert hgs("render", str(sound), "-p", "60", "--takes", "2", "--seed", str(MAX_SEED)).code == 0
    assert Settings(seed=MAX_SEED).seed == MAX_SEED


def test_layers_takes_names_and_json_go_together(hgs: Run, sound: Path) -> None:
    made = hgs("render", str(sound), "-p", "60", "--takes", "2", "--velocities", "2", "--json")
    told = [json.loads(line) for line in made.lines]
    assert [(Path(one["path"]).stem, one["layer"], one["take"]) for one in told] == [
        (f"tone_060_C4_v{layer}_take{take}", layer, take) for layer in (1, 2) for take in (1, 2)
    ]
    named = hgs("render", str(sound), "-p", "60", "--takes", "2", "--name", "{note}-{take}", "-o", "named")
    assert [Path(line).name for line in named.lines] == ["C4-1.wav", "C4-2.wav"]
    refused = hgs("render", str(sound), "-p", "60", "--takes", "2", "--name", "{note}", "-o", "refused")
    assert (refused.code, "add {take}" in refused.err) == (2, True)


def test_a_soundfont_says_in_a_line_that_it_knows_no_round_robin(hgs: Run, sound: Path, tmp_path: Path) -> None:
    both = hgs("render", str(sound), "-p", "60", "--takes", "2", "--format", "sf2,sfz", "-o", "both")
    assert both.code == 0
    assert both.err.count("a SoundFont knows no round robin: it plays the first take of every note\n") == 1
    plain = hgs(
        "render",
        str(sound),
        "-p",
        "60",
        "--format",
        "sf2,sfz",
        "-o",
        "plain",
        "--name",
        "{stem}_{midi:03d}_{note}_take1",
    )
    assert plain.code == 0
    assert (tmp_path / "both" / "tone.sf2").read_bytes() == (tmp_path / "plain" / "tone.sf2").read_bytes()
    alone = hgs("render", str(sound), "-p", "60", "--takes", "2", "--format", "sf2", "-o", "alone")
    assert alone.code == 2
    assert alone.err == "hgs: error: a SoundFont knows no round robin — add sfz, dspreset or multisample to --format\n"
    assert not (tmp_path / "alone").exists()


def test_mixes_have_takes_and_the_page_plays_them_in_turn(hgs: Run, sound: Path, burst: Path, tmp_path: Path) -> None:
    made = hgs("mix", str(sound), str(burst), "-p", "60", "--takes", "2", "--audition", "-o", "mixed")
    assert made.code == 0, made.err
    page = (tmp_path / "mixed" / "tone+burst.html").read_text(encoding="utf-8")
    assert page.count('"root": 60') == 2


# --- .multisample -----------------------------------------------------------------------------------------------------


def test_a_multisample_maps_every_sound_that_it_holds(hgs: Run, sound: Path, tmp_path: Path) -> None:
    made = hgs("render", str(sound), "-p", "48,60.5", "--velocities", "2", "--format", "multisample", "-o", "out")
    assert made.code == 0, made.err
    assert made.lines == ["out/tone.multisample"]
    root = read_map(tmp_path / "out" / "tone.multisample")
    assert (root.tag, root.get("name")) == ("multisample", "tone")
    assert [one.tag for one in root][:5] == ["generator", "category", "creator", "description", "keywords"]
    assert [one.get("name") for one in root.iter("group")] == ["Layer 1", "Layer 2"]
    with zipfile.ZipFile(tmp_path / "out" / "tone.multisample") as archive:
        assert archive.testzip() is None
        assert {one.compress_type for one in archive.infolist()} == {zipfile.ZIP_STORED}
        listed = [one.get("file") for one in root.iter("sample")]
        assert sorted(listed) == sorted(set(archive.namelist()) - {"multisample.xml"})  # type: ignore[type-var]
        for one in root.iter("sample"):
            info = soundfile.info(io.BytesIO(archive.read(one.get("file", ""))))
            assert (info.format, info.subtype) == ("WAV", "PCM_24")
            assert float(one.get("sample-stop", "")) == info.frames
            assert [part.tag for part in one] == ["key", "velocity", "select", "loop"]
            assert one.get("zone-logic") == "always-play"
    keys = [dict(one.attrib) for one in root.iter("key")]
    assert [(one["root"], one["low"], one["high"], float(one["tune"])) for one in keys] == 2 * [
        ("48", "0", "54", 0.0), ("61", "55", "127", 0.5),
    ]  # fmt: skip
    assert [(one.get("low"), one.get("high")) for one in root.iter("velocity")] == 2 * [("1", "64")] + 2 * [
        ("65", "127")
    ]


def test_a_multisample_tells_loops_and_turns(tmp_path: Path) -> None:
    write_multisample(tmp_path / "a.multisample", "a", zones(taken(2, loop=Loop(100, 2000))), lambda sample: b"RIFF")
    root = read_map(tmp_path / "a.multisample")
    assert {one.get("zone-logic") for one in root.iter("sample")} == {"round-robin"}
    loops = {(one.get("mode"), one.get("start"), one.get("stop")) for one in root.iter("loop")}
    assert loops == {("loop", "100.000", "2000.000")}
    assert len({one.get("file") for one in root.iter("sample")}) == 4


@pytest.mark.parametrize("formats", ["wav,multisample", "flac,multisample", "multisample"])
@pytest.mark.parametrize("subtype", few_of(["PCM_24", "PCM_16"], "PCM_16"))
def test_a_multisample_holds_the_notes_as_wav_whatever_else_is_written(
    hgs: Run, sound: Path, tmp_path: Path, formats: str, subtype: str
) -> None:
    assert hgs("render", str(sound), "-p", "60", "--format", formats, "--subtype", subtype, "-o", "out").code == 0
    assert hgs("render", str(sound), "-p", "60", "--subtype", subtype, "-o", "plain").code == 0
    with zipfile.ZipFile(tmp_path / "out" / "tone.multisample") as archive:
        held, _ = soundfile.read(io.BytesIO(archive.read("060_C4.wav")))
        assert soundfile.info(io.BytesIO(archive.read("060_C4.wav"))).subtype == subtype
    note, _ = soundfile.read(tmp_path / "plain" / "tone_060_C4.wav")
    assert np.abs(held - note).max() <= 4.0 / 2**15 if subtype == "PCM_16" else np.array_equal(held, note)


def test_the_same_call_writes_the_same_multisample(hgs: Run, sound: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        assert hgs("render", str(sound), "-p", "60", "--format", "multisample", "-o", folder).code == 0
    assert (tmp_path / "a" / "tone.multisample").read_bytes() == (tmp_path / "b" / "tone.multisample").read_bytes()


def test_any_name_of_a_sound_can_be_that_of_a_multisample(hgs: Run, tmp_path: Path) -> None:
    name = 'a <b> & "c" \x07 ü'
    soundfile.write(tmp_path / f"{name}.wav", tone(), SAMPLE_RATE)
    assert hgs("render", f"{name}.wav", "-p", "60", "--format", "multisample", "-o", "out").code == 0
    assert read_map(tmp_path / "out" / f"{name}.multisample").get("name") == 'a <b> & "c" ü'
