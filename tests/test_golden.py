"""The sound stays what it was: notes of the snare against stored log-mels, by the tiny model, with a tolerance.

After a change meant to be heard: `python -m pytest tests/test_golden.py --regenerate-golden`, in a commit of its
own that says what changed in the sound.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import ROOT, SNARE, tone
from safetensors.torch import load_file, save_file
from torch import Tensor

from hgs_cli.audio.io import read_audio
from hgs_cli.pipeline import Inversion, Model, invert, mix, render
from hgs_cli.spectrum import DB_PER_UNIT, SAMPLE_RATE

REFERENCE = ROOT / "tests" / "golden" / "notes.safetensors"
TOLERANCE_DB = 0.2  # mean difference: another processor rounds far below it, another seed is far above
FLOOR = -0.4  # level 70 dB below full scale: below it nothing is heard


@pytest.fixture(scope="module")
def snare(model: Model) -> Inversion:
    return invert(model, read_audio(SNARE).audio, SAMPLE_RATE)


@pytest.fixture(scope="module")
def note(model: Model) -> Inversion:
    return invert(model, torch.from_numpy(tone(220.0, 0.6)), SAMPLE_RATE)


@pytest.mark.parametrize("name", ["snare", "note", "mix"])
def test_the_sound_is_what_it_was(
    model: Model, snare: Inversion, note: Inversion, name: str, request: pytest.FixtureRequest
) -> None:
    pitches = [45.0, 60.0, 72.5]
    notes = {
        "snare": lambda: render(model, snare, pitches),
        "note": lambda: render(model, note, pitches),
        "mix": lambda: mix(model, [snare, note], [0.5, 0.5], pitches),
    }[name]().audio
    mels = model.log_mel(notes)[:, :, :56]  # 0.65 s
    if request.config.getoption("--regenerate-golden"):
        _store(REFERENCE, name, mels)
    reference = load_file(REFERENCE)[name].float()
    difference_db = (mels.clamp(min=FLOOR) - reference.clamp(min=FLOOR)).abs().mean() * DB_PER_UNIT
    assert float(difference_db) < TOLERANCE_DB


def _store(path: Path, name: str, mels: Tensor) -> None:
    stored = load_file(path) if path.exists() else {}
    save_file({**stored, name: mels.half().contiguous()}, path)
