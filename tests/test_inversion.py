"""An .hgs file holds an instrument, and nothing else is taken for one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import few_of, tone
from damage import stored_bytes, stored_parts
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from hgs_cli.audio.flac import encode_flac
from hgs_cli.audio.source_pitch import detect_pitch
from hgs_cli.errors import InputError
from hgs_cli.inversion import Inversion
from hgs_cli.pipeline import Listening, Model, Settings, invert, mix, open_sound, render
from hgs_cli.spectrum import MODEL_SAMPLES


@pytest.fixture(scope="module")
def inversion(model: Model) -> Inversion:
    return invert(model, torch.from_numpy(tone()), 44_100)


@pytest.fixture
def file(inversion: Inversion, tmp_path: Path) -> Path:
    inversion.save(tmp_path / "tone.hgs")
    return tmp_path / "tone.hgs"


def flattened(inversion: Inversion) -> dict[str, object]:
    values: dict[str, object] = {}
    for item in fields(inversion):
        value = getattr(inversion, item.name)
        if item.name in ("source_envelopes", "detail"):
            values |= {f"{item.name}.{part.name}": getattr(value, part.name) for part in fields(value)}
        elif isinstance(value, dict):
            values |= {f"{item.name}.{name}": tensor for name, tensor in value.items()}
        else:
            values[item.name] = value
    return values


@pytest.fixture(scope="module")
def full(model: Model) -> Inversion:
    """An instrument with every part that an instrument may have."""
    both = torch.from_numpy(np.stack([tone(), 0.3 * tone()], 1))
    return invert(model, both, 44_100, pitch=57.0, passes=2, stereo=True)


def test_saving_and_loading_changes_nothing(inversion: Inversion, full: Inversion, tmp_path: Path) -> None:
    assert all(value is not None for value in flattened(full).values())
    for one in (inversion, full):
        one.save(tmp_path / "a.hgs")
        loaded = flattened(Inversion.load(tmp_path / "a.hgs"))
        for name, value in flattened(one).items():
            if isinstance(value, Tensor):
                assert torch.equal(value, loaded[name]), name  # type: ignore[arg-type]
            else:
                assert value == loaded[name], name


def test_the_file_says_what_it_is(file: Path) -> None:
    with safe_open(file, framework="pt") as opened:
        header = json.loads(opened.metadata()["hgs"])
    assert (header["format"], header["format_version"]) == ("hgs-inversion", 3)


def test_what_the_networks_and_the_ear_are_sensitive_to_is_kept_exactly(full: Inversion, tmp_path: Path) -> None:
    full.save(tmp_path / "a.hgs")
    with safe_open(tmp_path / "a.hgs", framework="pt") as opened:
        exact = {name for name in opened.keys() if opened.get_tensor(name).dtype == torch.float32}
    assert exact == {"feature", "cents"}


def test_rendering_the_file_equals_rendering_the_sound(model: Model, inversion: Inversion, file: Path) -> None:
    sound = render(model, inversion, [50, 60.5, 69])
    again = render(model, open_sound(model, file), [50, 60.5, 69])
    assert torch.equal(sound.audio, again.audio)
    assert sound.gain_db == again.gain_db


def spoilt(
    file: Path, header: dict[str, object] | None = None, tensors: Mapping[str, Tensor | None] | None = None
) -> Path:
    tensors = tensors or {}
    with safe_open(file, framework="pt") as opened:
        values = {name: opened.get_tensor(name) for name in opened.keys()}
        old = json.loads(opened.metadata()["hgs"])
    values |= {name: value for name, value in tensors.items() if value is not None}
    kept = {name: value for name, value in values.items() if tensors.get(name, value) is not None}
    save_file(kept, file, metadata={"hgs": json.dumps({**old, **(header or {})})})
    return file


@pytest.mark.parametrize("content", [b"", b"hgs", b"\x10\x00\x00\x00\x00\x00\x00\x00{}", b"\xff" * 64])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.hgs"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not an inversion"):
        Inversion.load(path)


def test_a_truncated_file_is_refused(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="is not an inversion"):
        Inversion.load(file)


def test_a_file_without_all_its_facts_is_refused(file: Path) -> None:
    header, body = stored_parts(file.read_bytes())
    for name in header["__metadata__"]["hgs"]:
        facts = {key: value for key, value in header["__metadata__"]["hgs"].items() if key != name}
        file.write_bytes(stored_bytes({**header, "__metadata__": {"hgs": facts}}, body))
        with pytest.raises(InputError, match="is not an inversion of hgs — make it again with hgs invert"):
            Inversion.load(file)


def test_a_file_whose_tensors_overlap_is_refused(file: Path) -> None:
    header, body = stored_parts(file.read_bytes())
    file.write_bytes(stored_bytes({**header, "mel": header["first.harmonic"]}, body))
    with pytest.raises(InputError, match="is not an inversion"):
        Inversion.load(file)


def test_a_file_that_fails_while_it_is_read_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("hgs_cli.inversion.read_stored", fail)
    with pytest.raises(InputError, match="is not an inversion"):
        Inversion.load(file)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        Inversion.load(tmp_path / "a.hgs")
    with pytest.raises(InputError, match="is a folder"):
        Inversion.load(tmp_path)


def test_a_weights_bundle_is_no_inversion(bundle: Path) -> None:
    with pytest.raises(InputError, match="is not an inversion"):
        Inversion.load(bundle)


def test_another_format_version_is_named(file: Path) -> None:
    with pytest.raises(InputError, match="inversion format 4; this hgs reads up to 3"):
        Inversion.load(spoilt(file, {"format_version": 4}))
    with pytest.raises(InputError, match="inversion format 0; this hgs reads up to 3"):
        Inversion.load(spoilt(file, {"format_version": 0}))


# What formats 1 and 2 held beside what is still there, and that nothing is made of any more.
FORMER = {
    "detail.attack": torch.ones(2809).half(), "detail.phases": torch.zeros(128).half(),
    "detail.stretch": torch.tensor([1e-3, -2.0]), "detail.remainder": torch.zeros(128, 352).half(),
    "side": torch.zeros(16, 352).half(),
}  # fmt: skip
ADDED = ("recording_exponent", "channels", "mono_weights", "stands_at", "trust", "cropped", "heard", "kind")


def former(file: Path, version: int) -> Path:
    """The same instrument in a file of an earlier format: without its recording and what is known of that."""
    with safe_open(file, framework="pt") as opened:
        kept = {name: opened.get_tensor(name) for name in opened.keys() if name != "recording"}
        facts = json.loads(opened.metadata()["hgs"])
    facts = {name: value for name, value in facts.items() if name not in ADDED} | {"format_version": version}
    save_file(kept | FORMER, file, metadata={"hgs": json.dumps(facts)})
    return file


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_a_former_format_is_read_and_played(
    model: Model, inversion: Inversion, file: Path, version: int
) -> None:
    said: list[str] = []
    old = open_sound(model, former(file, version), report=said.append)
    assert said == []
    assert torch.equal(old.mel, inversion.mel)
    assert (old.source_pitch, old.length_samples) == (inversion.source_pitch, inversion.length_samples)
    assert old.recording is None
    for settings in (Settings(), Settings(stereo=True, variation=0.5), Settings(keep_vibrato=False, detail=0.5)):
        played = render(model, old, [45.0, 57.0, 61.5], settings)
        assert played.audio.shape[:2] == (3, inversion.length_samples)
        assert bool(torch.isfinite(played.audio).all())
        assert float(played.audio.abs().amax(1).min()) > 0.01
    heard = render(model, old, [57.0]).audio[0]
    assert detect_pitch(heard, 57.0).midi == pytest.approx(57.0, abs=0.1)


def test_a_file_of_a_former_format_is_mixed_with_a_new_one_and_saved_as_a_new_one(
    model: Model, inversion: Inversion, file: Path
) -> None:
    old = Inversion.load(former(file, 2))
    mixed = mix(model, [old, inversion], [0.5, 0.5], [57.0, 60.0]).audio
    assert bool(torch.isfinite(mixed).all())
    assert float(mixed.abs().max()) > 0.01
    old.save(file)
    assert torch.equal(render(model, Inversion.load(file), [60.0]).audio, render(model, old, [60.0]).audio)


@pytest.mark.parametrize(
    "header",
    [
        {"source_pitch": 1e9}, {"source_pitch": "A4"}, {"source_pitch": True}, {"length_samples": -1},
        {"length_samples": 22_051}, {"length_samples": 1.5}, {"passes": 10**6}, {"input_gain_db": float("nan")},
        {"reference_lufs": float("inf")}, {"weights_sha256": None}, {"format": "hgs-weights"}, {"format_version": "2"},
        {"format_version": True}, {"source_pitch": -0.5}, {"source_pitch": 127.5}, {"length_samples": 440},
        {"passes": -1}, {"passes": 65}, {"passes": True},
        {"input_gain_db": 300.5}, {"reference_lufs": -300.5}, {"reference_peak_db": 300.5}, {"input_gain_db": "1"},
        {"trust": 1.01}, {"trust": -0.1}, {"trust": float("nan")}, {"trust": None}, {"trust": True},
        {"stands_at": -0.5}, {"stands_at": 127.5}, {"stands_at": "60"}, {"stands_at": None}, {"channels": 2},
        {"channels": 0}, {"channels": None}, {"recording_exponent": -1}, {"recording_exponent": 41},
        {"recording_exponent": 0.0}, {"mono_weights": [1.0, 0.0]}, {"mono_weights": [2.0]}, {"mono_weights": [None]},
        {"mono_weights": "1"}, {"cropped": 0}, {"heard": None}, {"kind": 1}, {"heard": "x" * 1001},
    ],
)  # fmt: skip
def test_impossible_facts_are_refused(file: Path, header: dict[str, object]) -> None:
    with pytest.raises(InputError, match="is not an inversion"):
        Inversion.load(spoilt(file, header))


@pytest.mark.parametrize(
    "header",
    [
        {"source_pitch": 0}, {"source_pitch": 127}, {"passes": 0}, {"passes": 64}, {"input_gain_db": 300},
        {"reference_lufs": -300.0}, {"reference_peak_db": -120}, {"trust": 0}, {"trust": 1}, {"stands_at": 0},
        {"stands_at": 127}, {"recording_exponent": 1}, {"cropped": True}, {"heard": ""}, {"kind": "x" * 1000},
    ],
)  # fmt: skip
def test_facts_at_the_edge_of_the_possible_are_read(file: Path, header: dict[str, object]) -> None:
    loaded = Inversion.load(spoilt(file, header))
    kept = {name: getattr(loaded, name) for name in header if name != "recording_exponent"}
    assert kept == {name: header[name] for name in kept}


@pytest.mark.parametrize(
    ("length", "is_read"), [(440, False), (441, True), (MODEL_SAMPLES, True), (MODEL_SAMPLES + 1, False)]
)
def test_former_formats_hold_no_more_than_the_networks_hear(file: Path, length: int, is_read: bool) -> None:
    spoilt(former(file, 2), {"length_samples": length})
    if is_read:
        assert Inversion.load(file).length_samples == length
    else:
        with pytest.raises(InputError, match="is not an inversion"):
            Inversion.load(file)


@pytest.mark.parametrize(
    ("name", "most", "more"),
    [
        ("feature", 2.0, 2.01), ("cents", 200.0, 200.5), ("mel", 1.5, 1.51), ("first.harmonic", 50.0, 50.5),
        ("first.noise_part", 50.0, 50.5), ("detail.harmonic", 50.0, 50.5), ("detail.noise_part", 50.0, 50.5),
        ("offsets.head", 1000.0, 1001.0),
    ],
)  # fmt: skip
def test_values_are_read_up_to_what_a_sound_can_have(
    full: Inversion, tmp_path: Path, name: str, most: float, more: float
) -> None:
    full.save(tmp_path / "a.hgs")
    with safe_open(tmp_path / "a.hgs", framework="pt") as opened:
        stored = opened.get_tensor(name)
    for value in (-most, most):
        stored.view(-1)[0] = value
        Inversion.load(spoilt(tmp_path / "a.hgs", None, {name: stored}))
    for value in (-more, more):
        stored.view(-1)[0] = value
        with pytest.raises(InputError, match=f"is damaged: {name} holds values that no sound has"):
            Inversion.load(spoilt(tmp_path / "a.hgs", None, {name: stored}))


@pytest.mark.parametrize(
    "tensors",
    [
        {"mel": None}, {"feature": None}, {"mel": torch.zeros(128, 3)}, {"stranger": torch.zeros(1)},
        {"detail.harmonic": torch.full((128, 352), torch.nan)}, {"cents": torch.zeros(352, dtype=torch.int64)},
        {"feature": torch.zeros(2, 2)}, {"recording": torch.zeros(9)}, {"recording": torch.zeros(2, 9).byte()},
        {"recording": torch.zeros(0).byte()}, {"recording": torch.zeros(900).byte()},
        {"first.harmonic": None}, {"first.noise_part": None}, {"detail.harmonic": None}, {"detail.noise_part": None},
        {"cents": None}, {"detail.nothing": torch.zeros(1)},
    ],
)  # fmt: skip
def test_missing_foreign_misshapen_or_infinite_tensors_are_refused(
    file: Path, tensors: dict[str, Tensor | None]
) -> None:
    with pytest.raises(InputError, match=r"is damaged|is not an inversion"):
        Inversion.load(spoilt(file, None, tensors))


def test_an_inversion_of_other_weights_is_made_again_and_says_so(
    model: Model, inversion: Inversion, file: Path
) -> None:
    spoilt(file, {"weights_sha256": "0" * 64})
    said: list[str] = []
    again = open_sound(model, file, report=said.append)
    assert len(said) == 1
    assert "other weights" in said[0]
    assert again.weights_sha256 == model.sha256
    # The weights are in truth the same: what is made from the stored spectrogram is what was made from the sound.
    assert torch.allclose(again.feature, inversion.feature, atol=2e-3)
    first, second = (render(model, one, [57]).audio for one in (inversion, again))
    assert float((first - second).square().mean()) < 1e-3 * float(first.square().mean())


def test_offsets_and_features_that_do_not_fit_the_weights_are_refused(model: Model, file: Path) -> None:
    for change in (
        {"feature": torch.zeros(3)},
        {"offsets.nonsense": torch.zeros(1, 2)},
        {"offsets.head": torch.zeros(1, 2, 2)},
        {"offsets.head": torch.zeros(1, 0)},
    ):
        copy = Path(shutil.copy(file, file.with_name("copy.hgs")))
        with pytest.raises(InputError, match="does not fit the weights"):
            open_sound(model, spoilt(copy, None, change))


def test_an_unpitched_inversion_keeps_having_no_pitch(model: Model, inversion: Inversion, tmp_path: Path) -> None:
    replace(inversion, source_pitch=None).save(tmp_path / "a.hgs")
    assert Inversion.load(tmp_path / "a.hgs").source_pitch is None


# --- the recording --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subtype", few_of(["PCM_16", "PCM_24", "PCM_U8"], "PCM_24"))
@pytest.mark.parametrize("channels", [1, 2])
def test_a_file_gives_back_the_recording_exactly(model: Model, tmp_path: Path, subtype: str, channels: int) -> None:
    rng = np.random.default_rng(3)
    samples = np.stack([tone(), tone(331.0)], 1)[:, :channels] + 1e-3 * rng.standard_normal((22_050, channels))
    samples[5], samples[6] = -1.0, 1.0  # full scale
    soundfile.write(tmp_path / "a.wav", samples, 44_100, subtype=subtype)
    written = soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)[0]
    open_sound(model, tmp_path / "a.wav", Listening(stereo=True, start_s=0.0)).save(tmp_path / "a.hgs")
    held = Inversion.load(tmp_path / "a.hgs").recording
    assert held is not None
    assert np.array_equal(held.numpy().T, written)


@pytest.mark.parametrize("gain", [1e-4, 0.3, 3.7, 1e6])
def test_a_recording_of_any_level_is_kept_to_24_bits(model: Model, tmp_path: Path, gain: float) -> None:
    samples = torch.from_numpy(tone()) * gain
    invert(model, samples, 44_100).save(tmp_path / "a.hgs")
    held = Inversion.load(tmp_path / "a.hgs").recording
    assert held is not None
    scale = max(1.0, 2.0 * float(samples.abs().max()))
    assert float((held[0] - samples).abs().max()) <= scale * 2.0**-24


def test_a_long_recording_is_kept_whole(model: Model, tmp_path: Path) -> None:
    samples = torch.from_numpy(np.tile(tone(), 12))
    inversion = invert(model, samples, 44_100, pitch=57.0)
    inversion.save(tmp_path / "a.hgs")
    loaded = Inversion.load(tmp_path / "a.hgs")
    assert loaded.recording is not None
    assert loaded.recording.shape == (1, len(samples))
    assert loaded.length_samples == len(samples)
    assert torch.equal(render(model, loaded, [60.0]).audio, render(model, inversion, [60.0]).audio)
    with pytest.raises(InputError, match="is not an inversion"):
        Inversion.load(spoilt(tmp_path / "a.hgs", None, {"recording": None}))


def test_an_instrument_saved_over_its_own_file_stays_what_it_is(inversion: Inversion, file: Path) -> None:
    loaded = Inversion.load(file)
    replace(loaded, feature=-loaded.feature, pitch_contour_cents=loaded.pitch_contour_cents + 1.0).save(file)
    assert torch.equal(loaded.feature, inversion.feature)
    assert torch.equal(loaded.pitch_contour_cents, inversion.pitch_contour_cents)


def packed(samples: np.ndarray, rate: int = 44_100) -> Tensor:
    return torch.from_numpy(np.frombuffer(encode_flac(samples, rate, 24), dtype=np.uint8).copy())


def damaged_recordings(whole: Tensor, length: int) -> dict[str, Tensor]:
    half = len(whole) // 2
    flipped = whole.clone()
    flipped[half : half + 40] ^= 0x5A
    wave = tone(seconds=1.0)[:, None]
    return {
        "cut": whole[:half], "flipped": flipped, "no magic": whole[1:], "header alone": whole[:42],
        "shorter": packed(wave[: length - 1]), "longer": packed(wave[: length + 1]), "nothing": packed(wave[:0]),
        "two channels": packed(np.repeat(wave[:length], 2, 1)), "another rate": packed(wave[:length], 48_000),
        "text": torch.tensor(list(b"no sound at all" * 100), dtype=torch.uint8),
    }  # fmt: skip


@pytest.mark.parametrize(
    "damage",
    [
        "cut",
        "flipped",
        "no magic",
        "header alone",
        "shorter",
        "longer",
        "nothing",
        "two channels",
        "another rate",
        "text",
    ],
)
def test_a_damaged_recording_is_refused_in_one_line(file: Path, inversion: Inversion, damage: str) -> None:
    with safe_open(file, framework="pt") as opened:
        whole = opened.get_tensor("recording")
    spoilt(file, None, {"recording": damaged_recordings(whole, inversion.length_samples)[damage]})
    with pytest.raises(InputError, match=r"is not an inversion|is damaged") as refused:
        Inversion.load(file)
    assert len(str(refused.value).splitlines()) == 1
    assert "make it again with hgs invert" in str(refused.value)
