"""Weights are found where they were said to be, verified, and loaded whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from hgs_cli.errors import UsageError, WeightsError
from hgs_cli.models.hyperganstrument import tiny_config
from hgs_cli.models.weights import CHECKSUMS_NAME, build_model, choose_device, find_bundle, save_bundle
from hgs_cli.sampler.model import load_model


def read_header(path: Path) -> dict[str, Any]:
    """What a bundle says of itself."""
    with safe_open(path, "pt") as stored:
        header: dict[str, Any] = json.loads(stored.metadata()["hgs"])
    return header


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    """A bundle that may be spoilt, with its checksums."""
    shutil.copy(bundle.parent / CHECKSUMS_NAME, tmp_path)
    return Path(shutil.copy(bundle, tmp_path))


def rewritten(path: Path, header: dict[str, object] | None = None, **tensors: torch.Tensor | None) -> Path:
    """Replace header entries and tensors of a bundle; None leaves a tensor out."""
    with safe_open(path, framework="pt") as file:
        values = {name: file.get_tensor(name) for name in file.keys()}
        old = json.loads(file.metadata()["hgs"])
    values |= {name: value for name, value in tensors.items() if value is not None}
    kept = {name: value for name, value in values.items() if tensors.get(name, value) is not None}
    save_file(kept, path, metadata={"hgs": json.dumps({**old, **(header or {})})})
    (path.parent / CHECKSUMS_NAME).unlink(missing_ok=True)
    return path


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    network = build_model(tiny_config(), seed=3)
    save_bundle(tmp_path / "a.safetensors", network, "7.1", {"minutes": 60})
    loaded = load_model(tmp_path / "a.safetensors", "cpu")
    assert loaded.version == "7.1"
    assert loaded.network.config == network.config
    parameters = dict(network.named_parameters())
    for name, value in loaded.network.state_dict().items():
        expected = network.state_dict()[name]
        assert torch.equal(value, expected.half().float() if name in parameters else expected), name
    assert read_header(tmp_path / "a.safetensors")["extra"] == {"minutes": 60}


def test_loading_leaves_the_global_random_state_alone(bundle: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    load_model(bundle, "cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_changed_bundle_fails_its_checksum(copy: Path) -> None:
    data = bytearray(copy.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    with pytest.raises(WeightsError, match="fails its checksum"):
        load_model(copy, "cpu")


def test_a_bundle_without_checksums_beside_it_is_taken(copy: Path) -> None:
    (copy.parent / CHECKSUMS_NAME).unlink()
    assert load_model(copy, "cpu").version == "tiny"


def test_checksums_of_other_files_are_kept(tmp_path: Path) -> None:
    (tmp_path / CHECKSUMS_NAME).write_text("00ff *other.safetensors\n")
    save_bundle(tmp_path / "a.safetensors", build_model(tiny_config()), "1")
    lines = (tmp_path / CHECKSUMS_NAME).read_text().splitlines()
    assert [line.split()[1] for line in lines] == ["a.safetensors", "other.safetensors"]


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 100])
def test_a_file_that_is_no_bundle_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="is not a weights bundle"):
        load_model(path, "cpu")


def test_another_programs_safetensors_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3)}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="is not a weights bundle"):
        load_model(tmp_path / "a.safetensors", "cpu")


def test_another_format_version_is_named(copy: Path) -> None:
    with pytest.raises(WeightsError, match="bundle format 99"):
        load_model(rewritten(copy, {"format_version": 99}), "cpu")


@pytest.mark.parametrize("config", [{}, {"generator": {"wings": 2}}, None])
def test_sizes_that_this_version_does_not_know_are_refused(copy: Path, config: object) -> None:
    with pytest.raises(WeightsError, match="header"):
        load_model(rewritten(copy, {"config": config}), "cpu")


def test_another_front_end_is_refused(copy: Path) -> None:
    config = read_header(copy)["config"]
    config["mel"]["hop_length"] = 256
    with pytest.raises(WeightsError, match="front end"):
        load_model(rewritten(copy, {"config": config}), "cpu")


def test_a_missing_foreign_or_misshapen_tensor_is_refused(copy: Path) -> None:
    for change in ({"generator.constant": None}, {"stranger": torch.zeros(2)}, {"generator.constant": torch.zeros(2)}):
        with pytest.raises(WeightsError, match="do not fit"):
            load_model(rewritten(Path(shutil.copy(copy, copy.with_name("b.safetensors"))), None, **change), "cpu")


def test_weights_that_are_not_finite_are_refused(copy: Path) -> None:
    constant = torch.full_like(load_model(copy, "cpu").network.generator.constant, torch.nan)
    with pytest.raises(WeightsError, match="not finite"):
        load_model(rewritten(copy, None, **{"generator.constant": constant}), "cpu")
    network = build_model(tiny_config())
    with torch.no_grad():
        network.generator.constant.fill_(1e6)  # too large for half precision
    with pytest.raises(ValueError, match="half precision"):
        save_bundle(copy, network, "1")


def test_the_option_wins_over_the_environment(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Path(shutil.copy(bundle, tmp_path / "other.safetensors"))
    monkeypatch.setenv("HGS_WEIGHTS", str(other))
    assert find_bundle() == other
    assert find_bundle(bundle) == bundle


def test_weights_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere\.safetensors are not a file"):
        find_bundle(tmp_path / "nowhere.safetensors")
    monkeypatch.setenv("HGS_WEIGHTS", str(tmp_path / "gone.safetensors"))
    with pytest.raises(WeightsError, match="from HGS_WEIGHTS"):
        find_bundle()


def test_devices_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == choose_device("cpu").type == "cpu"
    with pytest.raises(UsageError, match="no CUDA device"):
        choose_device("cuda")
    with pytest.raises(UsageError, match="unknown device"):
        choose_device("tpu")


@pytest.mark.weights
def test_the_released_bundle_verifies_and_keeps_its_budget(released) -> None:  # type: ignore[no-untyped-def]
    size = {name: sum(value.numel() for value in part.parameters()) for name, part in released.network.named_children()}
    assert size["feature_extractor"] + size["generator"] + size["hypernetwork"] <= 12_000_000
    assert released.path.name in (released.path.parent / CHECKSUMS_NAME).read_text()
