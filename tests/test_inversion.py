"""An .hgs file holds an instrument, and nothing else is taken for one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tone
from damage import stored_bytes, stored_parts
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from hgs_cli.errors import InputError
from hgs_cli.inversion import Inversion
from hgs_cli.models.detail import N_PHASES
from hgs_cli.models.vocoder import GAIN_STEP_SAMPLES
from hgs_cli.pipeline import Model, invert, open_sound, render
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
        if item.name in ("first", "detail"):
            values |= {f"{item.name}.{part.name}": getattr(value, part.name) for part in fields(value)}
        elif isinstance(value, dict):
            values |= {f"{item.name}.{name}": tensor for name, tensor in value.items()}
        else:
            values[item.name] = value
    return values


@pytest.fixture(scope="module")
def full(model: Model) -> Inversion:
    """An instrument with every part that an instrument may have."""
    both = torch.from_numpy(np.stack([tone(), 0.3 * tone(330.0)], 1))
    made = invert(model, both, 44_100, pitch=57.0, passes=2, stereo=True)
    attack = torch.linspace(0.5, 1.5, MODEL_SAMPLES // GAIN_STEP_SAMPLES + 1).half().float()
    phases = torch.linspace(0.0, 6.0, N_PHASES).half().float()
    return replace(made, detail=replace(made.detail, stretch=torch.tensor([1e-3, -2.0]), attack=attack, phases=phases))


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
    assert (header["format"], header["format_version"]) == ("hgs-inversion", 2)


def test_what_the_networks_and_the_ear_are_sensitive_to_is_kept_exactly(full: Inversion, tmp_path: Path) -> None:
    full.save(tmp_path / "a.hgs")
    with safe_open(tmp_path / "a.hgs", framework="pt") as opened:
        exact = {name for name in opened.keys() if opened.get_tensor(name).dtype == torch.float32}
    assert exact == {"feature", "cents", "detail.stretch"}


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
    with pytest.raises(InputError, match="inversion format 3; this hgs reads up to 2"):
        Inversion.load(spoilt(file, {"format_version": 3}))
    with pytest.raises(InputError, match="inversion format 0; this hgs reads up to 2"):
        Inversion.load(spoilt(file, {"format_version": 0}))


def test_a_file_of_the_first_format_is_read(file: Path) -> None:
    old, new = Inversion.load(spoilt(file, {"format_version": 1})), Inversion.load(file)
    assert torch.equal(old.mel, new.mel)
    assert old.source_pitch == new.source_pitch


@pytest.mark.parametrize(
    "header",
    [
        {"source_pitch": 1e9}, {"source_pitch": "A4"}, {"source_pitch": True}, {"length_samples": -1},
        {"length_samples": 10**9}, {"length_samples": 1.5}, {"passes": 10**6}, {"input_gain_db": float("nan")},
        {"reference_lufs": float("inf")}, {"weights_sha256": None}, {"format": "hgs-weights"}, {"format_version": "2"},
        {"format_version": True}, {"source_pitch": -0.5}, {"source_pitch": 127.5}, {"length_samples": 440},
        {"length_samples": MODEL_SAMPLES + 1}, {"passes": -1}, {"passes": 65}, {"passes": True},
        {"input_gain_db": 300.5}, {"reference_lufs": -300.5}, {"reference_peak_db": 300.5}, {"input_gain_db": "1"},
    ],
)  # fmt: skip
def test_impossible_facts_are_refused(file: Path, header: dict[str, object]) -> None:
    with pytest.raises(InputError, match="is not an inversion"):
        Inversion.load(spoilt(file, header))


@pytest.mark.parametrize(
    "header",
    [
        {"source_pitch": 0}, {"source_pitch": 127}, {"length_samples": 441}, {"length_samples": MODEL_SAMPLES},
        {"passes": 0}, {"passes": 64}, {"input_gain_db": 300}, {"reference_lufs": -300.0}, {"reference_peak_db": -120},
    ],
)  # fmt: skip
def test_facts_at_the_edge_of_the_possible_are_read(file: Path, header: dict[str, object]) -> None:
    loaded = Inversion.load(spoilt(file, header))
    assert {name: getattr(loaded, name) for name in header} == header


@pytest.mark.parametrize(
    ("name", "most", "more"),
    [
        ("feature", 2.0, 2.01), ("cents", 200.0, 200.5), ("mel", 1.5, 1.51), ("first.harmonic", 50.0, 50.5),
        ("first.noise_part", 50.0, 50.5), ("detail.harmonic", 50.0, 50.5), ("detail.noise_part", 50.0, 50.5),
        ("detail.remainder", 50.0, 50.5), ("detail.attack", 10.0, 10.1), ("detail.phases", 10.0, 10.1),
        ("detail.stretch", 1200.0, 1200.5), ("side", 4.0, 4.1), ("offsets.head", 1000.0, 1001.0),
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
        {"feature": torch.zeros(2, 2)}, {"detail.attack": torch.zeros(3)}, {"detail.phases": torch.zeros(2, 2)},
        {"detail.stretch": torch.zeros(3)}, {"side": torch.zeros(2, 2)}, {"detail.remainder": torch.zeros(2)},
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
