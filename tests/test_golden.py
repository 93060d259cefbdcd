"""The sound stays what it was: notes against stored log-mels and pitches, with tolerances.

After a change meant to be heard, or with other weights: `python -m pytest tests/test_golden.py --regenerate-golden`, in
a commit of its own that says what changed in the sound.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from conftest import RELEASED, ROOT, SNARE, note, tone
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from hgs_cli.audio.io import read_audio
from hgs_cli.evaluation.measures import track_pitch
from hgs_cli.pipeline import Inversion, Model, invert, mix, render
from hgs_cli.spectrum import DB_PER_UNIT, SAMPLE_RATE

UNTRAINED_NOTES = ROOT / "tests" / "golden" / "notes.safetensors"
RELEASED_NOTES = ROOT / "tests" / "golden" / "released.safetensors"
TOLERANCE_DB = 0.2  # mean difference: another processor rounds far below it, another seed is far above
TOLERANCE_CENTS = 1.0
FLOOR = -0.4  # level 70 dB below full scale: below it nothing is heard
N_HEARD = 56  # frames, 0.65 s


@pytest.fixture(scope="module")
def snare(model: Model) -> Inversion:
    return invert(model, read_audio(SNARE).audio, SAMPLE_RATE)


@pytest.fixture(scope="module")
def played(model: Model) -> Inversion:
    return invert(model, torch.from_numpy(tone(220.0, 0.6)), SAMPLE_RATE)


@pytest.mark.parametrize("name", ["snare", "note", "mix"])
def test_the_sound_is_what_it_was(
    model: Model, snare: Inversion, played: Inversion, name: str, request: pytest.FixtureRequest
) -> None:
    pitches = [45.0, 60.0, 72.5]
    notes = {
        "snare": lambda: render(model, snare, pitches),
        "note": lambda: render(model, played, pitches),
        "mix": lambda: mix(model, [snare, played], [0.5, 0.5], pitches),
    }[name]().audio
    mels = model.log_mel(notes)[:, :, :N_HEARD]
    if request.config.getoption("--regenerate-golden"):
        store(UNTRAINED_NOTES, {name: mels.half()})
    assert difference_db(mels, load_file(UNTRAINED_NOTES)[name]) < TOLERANCE_DB


@pytest.mark.weights
@pytest.mark.parametrize(("name", "pitches"), [("snare", [48.0, 60.0, 72.0]), ("note", [45.0, 57.0, 64.5])])
def test_the_released_weights_sound_as_they_did(
    released: Model, name: str, pitches: list[float], request: pytest.FixtureRequest
) -> None:
    audio = read_audio(SNARE).audio if name == "snare" else torch.from_numpy(note(57.0, 1.2))
    notes = render(released, invert(released, audio, SAMPLE_RATE), pitches).audio
    mels = released.log_mel(notes)[:, :, :N_HEARD]
    heard = torch.tensor([track_pitch(one) or math.nan for one in notes])
    if request.config.getoption("--regenerate-golden"):
        store(RELEASED_NOTES, {f"{name}.mel": mels.half(), f"{name}.midi": heard}, {"weights": released.sha256})
    with safe_open(RELEASED_NOTES, "pt") as file:
        made_with = file.metadata()["weights"]
    assert made_with == released.sha256, f"other weights than {RELEASED} made the stored notes: --regenerate-golden"
    stored = load_file(RELEASED_NOTES)
    assert difference_db(mels, stored[f"{name}.mel"]) < TOLERANCE_DB
    cents = 100.0 * (heard - stored[f"{name}.midi"]).abs()
    assert float(cents.max()) < TOLERANCE_CENTS, cents.tolist()
    if name == "note":
        assert heard.tolist() == pytest.approx(pitches, abs=TOLERANCE_CENTS / 100.0)


def difference_db(mels: Tensor, reference: Tensor) -> float:
    """Mean difference of what can be heard of notes (n, n_mels, n_frames)."""
    return float((mels.clamp(min=FLOOR) - reference.float().clamp(min=FLOOR)).abs().mean() * DB_PER_UNIT)


def store(path: Path, tensors: dict[str, Tensor], facts: dict[str, str] | None = None) -> None:
    before = load_file(path) if path.exists() else {}
    save_file({**before, **{name: value.contiguous() for name, value in tensors.items()}}, path, facts)
