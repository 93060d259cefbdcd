"""What lies between instruments of many recordings: at every key between the notes that they have there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch
from conftest import Run
from sounds import brightness_hz, harmonics, levels_db
from test_carrier import cents_off
from torch import Tensor

from hgs_cli.audio.loudness import struck_lufs
from hgs_cli.errors import UsageError
from hgs_cli.inversion import Inversion
from hgs_cli.pipeline import (
    Model,
    Multisample,
    MultisampleMix,
    invert,
    make_multisample,
    mix,
    mix_multisamples,
    render,
)
from hgs_cli.pitch import midi_to_hz
from hgs_cli.spectrum import SAMPLE_RATE

DULL_KEYS, BRIGHT_KEYS = (45.0, 57.0, 69.0), (48.0, 66.0)
PITCHES = [45.0, 50.0, 57.0, 60.0]


def tone(key: float, highest: int, decay: float = 1.0, seconds: float = 1.0) -> Tensor:
    return 0.3 * harmonics(key, seconds, highest=highest, decay=decay)


def heard(model: Model, key: float, highest: int, decay: float = 1.0) -> Inversion:
    return invert(model, tone(key, highest, decay), SAMPLE_RATE, pitch=key)


@pytest.fixture(scope="module")
def dull(model: Model) -> Multisample:
    return make_multisample(model, [heard(model, key, 3) for key in DULL_KEYS])


@pytest.fixture(scope="module")
def bright(model: Model) -> Multisample:
    return make_multisample(model, [heard(model, key, 20) for key in BRIGHT_KEYS])


def test_the_ends_are_the_plain_notes_of_each(model: Model, dull: Multisample, bright: Multisample) -> None:
    for shares, alone in (([1.0, 0.0], dull), ([0.0, 1.0], bright)):
        assert torch.equal(mix(model, [dull, bright], shares, PITCHES).audio, render(model, alone, PITCHES).audio)


def test_an_instrument_mixed_with_itself_is_that_instrument(model: Model, dull: Multisample) -> None:
    assert torch.equal(mix(model, [dull, dull], [0.3, 0.7], [50.0]).audio, render(model, dull, [50.0]).audio)


def test_every_note_is_in_tune_and_as_loud_as_those_that_it_lies_between(
    model: Model, dull: Multisample, bright: Multisample
) -> None:
    notes = mix(model, [dull, bright], [0.3, 0.7], PITCHES).notes
    ends = [render(model, one, PITCHES).notes for one in (dull, bright)]
    for pitch, note, *beside in zip(PITCHES, notes, *ends, strict=True):
        assert abs(cents_off(note.audio, midi_to_hz(pitch))) < 3.0
        lufs = [struck_lufs(each.audio) for each in beside]
        assert min(lufs) - 0.5 < struck_lufs(note.audio) < max(lufs) + 0.5


def test_colour_lies_between_and_goes_with_the_share(model: Model, dull: Multisample, bright: Multisample) -> None:
    for pitch in (50.0, 60.0):
        colours = [
            brightness_hz(mix(model, [dull, bright], [1.0 - share, share], [pitch]).notes[0].audio)
            for share in (0.0, 0.25, 0.5, 0.75, 1.0)
        ]
        assert colours[0] < colours[2] < colours[4]
        assert all(colours[0] - 5.0 < each < colours[4] + 5.0 for each in colours)


def test_colour_has_no_step_where_recordings_change(model: Model, dull: Multisample, bright: Multisample) -> None:
    notes = mix(model, [dull, bright], [0.5, 0.5], [float(key) for key in range(45, 64)]).notes
    levels = model.log_mel(torch.stack([note.audio[: SAMPLE_RATE - 2000] for note in notes]))[:, :, 5:60]
    steps = (levels.clamp(min=-0.2)[1:] - levels.clamp(min=-0.2)[:-1]).abs().mean((1, 2))
    changes = [6, 12]  # 51 to 52 of the dull one, 57 to 58 of the bright one
    assert max(float(steps[change]) for change in changes) < 2.0 * float(steps.median())


def test_two_recordings_are_no_chorus(model: Model) -> None:
    sharp, flat = (
        make_multisample(model, [replace(heard(model, 57.0 + off, 6, 0.0), trust=0.0)], keys=[57.0])
        for off in (0.2, -0.2)
    )
    note = mix(model, [sharp, flat], [0.6, 0.4], [57.0]).notes[0].audio
    levels = levels_db(note[SAMPLE_RATE // 10 :], 0.05)[:-2]
    assert float(levels.max() - levels.min()) < 1.0  # two of them would beat: five times a second, by 14 dB


def test_a_sound_counts_as_an_instrument_of_one_recording(model: Model, dull: Multisample) -> None:
    one = heard(model, 60.0, 20)
    assert torch.equal(
        mix(model, [dull, one], [0.0, 1.0], [60.0]).audio, render(model, make_multisample(model, [one]), [60.0]).audio
    )


def test_recorded_layers_are_mixed_with_made_ones(model: Model, dull: Multisample) -> None:
    layered = make_multisample(model, [heard(model, 57.0, 2), heard(model, 57.0, 20)], layers=[0, 1])
    both = mix_multisamples(model, [layered, dull], [0.75, 0.25])
    assert isinstance(both, MultisampleMix)
    (soft, softer), (loud, plain) = both.layer(0, 2), both.layer(1, 2)
    assert (softer, plain) == (0.25, 0.0)
    assert [one.regions[0].name for _, one in (soft.mixed[0], loud.mixed[0])] == ["1", "2"]


def test_shares_that_are_none_are_refused(model: Model, dull: Multisample, bright: Multisample) -> None:
    for shares in ([1.0], [0.0, 0.0], [-1.0, 2.0]):
        with pytest.raises(UsageError):
            mix_multisamples(model, [dull, bright], shares)


# --- on the command line ---------------------------------------------------------------------------------------------


def record(folder: Path, names: Sequence[tuple[str, float]], highest: int) -> None:
    folder.mkdir()
    for name, key in names:
        soundfile.write(folder / f"{name}.wav", tone(key, highest, 2.0, 0.5).numpy(), SAMPLE_RATE)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    record(tmp_path / "Horn", [("horn_A2", 45.0), ("horn_A3", 57.0)], 3)
    record(tmp_path / "Oboe", [("oboe_C3", 48.0), ("oboe_F#4", 66.0), ("oboe_C5", 72.0)], 16)
    return tmp_path


def test_folders_are_instruments_and_the_ends_of_their_mixes_are_their_renders(hgs: Run, folders: Path) -> None:
    done = hgs("mix", "Horn", "Oboe", "--multisample", "--steps", "3", "-p", "A3,C4")
    assert done.code == 0, done.err
    stem = "horn+oboe/horn+oboe"
    assert done.out.splitlines() == [
        f"{stem}_{share}_{note}.wav" for share in ("000", "050", "100") for note in ("057_A3", "060_C4")
    ]
    assert "horn: 2 recordings from A2 to A3" in done.err
    for folder, share in (("Horn", "000"), ("Oboe", "100")):
        alone = hgs("render", folder, "--multisample", "-p", "C4").out.strip()
        plain, end = (soundfile.read(folders / path)[0] for path in (alone, f"{stem}_{share}_060_C4.wav"))
        assert abs(plain - end).max() < 2e-7  # of 24 bits


def test_json_tells_the_recordings_of_every_instrument(hgs: Run, folders: Path) -> None:
    (line,) = hgs("mix", "Horn", "Oboe", "--multisample", "-p", "60", "--json").out.splitlines()
    told = json.loads(line)
    assert (told["inputs"], told["shares"], told["kind"]) == (["Horn", "Oboe"], [0.5, 0.5], "multisample")
    assert [each["recording"] for each in told["recordings"]] == ["horn_A3", "oboe_F#4"]
    assert told["recordings"][1]["beside"] == "oboe_C3"


def test_kept_instruments_are_mixed_with_each_other_and_with_sounds(hgs: Run, folders: Path) -> None:
    for folder in ("Horn", "Oboe"):
        assert hgs("invert", folder, "--multisample").code == 0
    kept = hgs("mix", "horn.hgs", "oboe.hgs", "-p", "60", "-o", "kept").out.strip()
    first = hgs("mix", "Horn", "Oboe", "--multisample", "-p", "60", "-o", "heard").out.strip()
    one, other = (soundfile.read(folders / path)[0] for path in (kept, first))
    assert abs(one - other).max() < 2e-3
    assert hgs("mix", "horn.hgs", "Oboe/oboe_C3.wav", "-p", "60", "-o", "sound").code == 0
    assert hgs("mix", "horn.hgs", "Oboe", "--multisample", "-p", "60", "-o", "folder").code == 0


def test_a_mix_is_an_instrument_for_samplers_with_the_layers_and_takes_of_both(hgs: Run, tmp_path: Path) -> None:
    record(tmp_path / "Horn", [("horn_A3_pp", 57.0), ("horn_A3_ff", 57.1)], 3)
    record(tmp_path / "Oboe", [("oboe_A3_rr1", 57.0), ("oboe_A3_rr2", 57.1)], 16)
    done = hgs("mix", "Horn", "Oboe", "--multisample", "-p", "57", "--format", "sfz", "--audition", "--plot")
    assert done.code == 0, done.err
    assert len([path for path in done.out.splitlines() if path.endswith(".wav")]) == 4
    text = (tmp_path / "horn+oboe" / "horn+oboe_050.sfz").read_text()
    assert "seq_length=2" in text
    assert "lovel=65" in text
    assert {"horn+oboe/horn+oboe.html", "horn+oboe/horn+oboe.png"} <= set(done.out.splitlines())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["Horn", "Oboe"], "Horn is a folder — --multisample"),
        (["Horn", "Oboe", "--multisample", "--map", "keys.csv"], "--map is about one instrument"),
        (["Horn", "--multisample"], "a mix of one sound"),
        (["Horn", "Oboe", "--multisample", "--steps", "3", "--ratio", "1,1"], "--steps goes from one"),
        (["Horn", "nothing", "--multisample"], "nothing"),
    ],
)
def test_what_cannot_be_mixed_is_told_in_a_line(hgs: Run, folders: Path, arguments: list[str], line: str) -> None:
    done = hgs("mix", *arguments)
    assert done.code in (2, 3)
    (said,) = done.err.splitlines()[-1:]
    assert line in said
    assert done.out == ""
