"""With several notes known the others are nearer, and `hgs train eval --several` tells by how much."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import Run, note

from hgs_cli.evaluation.several_recordings import FoundNote, KeySteps, SeveralResult
from hgs_cli.spectrum import SAMPLE_RATE

KEYS = tuple(range(48, 72, 2))


@pytest.fixture
def changing(tmp_path: Path) -> Path:
    """An instrument that is brighter the higher it is played, loud and soft."""
    folder = tmp_path / "changing"
    folder.mkdir()
    entries = []
    for dynamic, dimmed in (("loud", 1.0), ("soft", 0.7)):
        for place, key in enumerate(KEYS if dynamic == "loud" else KEYS[::2]):
            name = f"trumpet_{key:03d}_{dynamic}.wav"
            step = place if dynamic == "loud" else 2 * place
            soundfile.write(folder / name, note(key, 1.0, dimmed * (0.4 + 0.04 * step)), SAMPLE_RATE)
            entries.append(
                {
                    "file": name, "instrument": "trumpet", "family": "brass", "pitched": True,
                    "midi_measured": float(key), "dynamic": dynamic, "licence": "CC0-1.0",
                }
            )  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps({"files": entries}))
    return folder


@pytest.mark.thorough
def test_the_more_notes_are_known_the_nearer_are_the_others(hgs: Run, changing: Path, tmp_path: Path) -> None:
    done = hgs("train", "eval", "--several", "--real", changing, "--quick", "--workers", "1", "--json", "s.json")
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "s.json").read_text())["several_recordings"]
    by_known = {
        known: [each["distance_db"] for each in found["notes"] if each["known"] == known] for known in (1, 2, 3, 5)
    }
    means = {
        known: sum(each["hgs, all recordings"] for each in notes) / len(notes) for known, notes in by_known.items()
    }
    assert means[5] < means[1]
    together, nearest = (
        sum(each[row] for each in by_known[3]) for row in ("hgs, all recordings", "hgs, nearest recording")
    )
    assert together < nearest
    assert max(found["steps"][0]["at_known_db"]) < 0.5  # short notes, whose ends are faded
    assert {"resampling"} <= set(by_known[1][0])
    assert len(found["soft"]) == 3
    assert "by the number of known ones" in done.out


def test_breath_before_a_note_is_neither_cut_nor_compared_away(hgs: Run, changing: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for path in changing.glob("*.wav"):
        sound, rate = soundfile.read(path)
        room, breath = (
            level * rng.normal(size=round(seconds * rate)) for level, seconds in ((1e-4, 0.5), (2e-3, 0.09))
        )
        soundfile.write(path, np.concatenate([room, breath, sound]), rate)
    manifest = json.loads((changing / "manifest.json").read_text())
    manifest["files"] = [each for each in manifest["files"] if each["dynamic"] == "loud"][:7]
    (changing / "manifest.json").write_text(json.dumps(manifest))
    done = hgs("train", "eval", "--several", "--real", changing, "--quick", "--workers", "1", "--json", "s.json")
    assert done.code == 0, done.err
    (steps,) = json.loads((tmp_path / "s.json").read_text())["several_recordings"]["steps"]
    assert max(steps["at_known_db"]) < 0.5  # short notes, whose ends are faded


def test_it_is_told_what_goes_together(hgs: Run, changing: Path) -> None:
    assert hgs("train", "eval", "--several").code == 2
    assert hgs("train", "eval", "--several", "--real", changing, "--plots", "p").code == 2


def test_tables_hold_what_was_found() -> None:
    notes = [FoundNote("a", known, True, {"row": 6.0 - known}) for known in (1, 2, 3, 5)]
    result = SeveralResult(notes, [], [KeySteps("a", ([1.0], [2.0, 3.0]), ([0.5], [0.25]), [0.0, 0.1])])
    first, steps = result.section().tables
    assert [cell[:4] for cell in first.rows[0][1:5]] == ["5.00", "4.00", "3.00", "1.00"]
    assert steps.rows[0] == ("where the carrier changes", "1.00", "1.00", "0.50", "0.50")
    assert "0.10 dB" in steps.notes[0]


def test_an_instrument_all_of_whose_notes_are_known_has_nothing_to_be_compared_with(
    hgs: Run, changing: Path, tmp_path: Path
) -> None:
    manifest = json.loads((changing / "manifest.json").read_text())
    manifest["files"] = [each for each in manifest["files"] if each["dynamic"] == "loud"][:7]
    (changing / "manifest.json").write_text(json.dumps(manifest))
    done = hgs("train", "eval", "--several", "--real", changing, "--quick", "--workers", "1", "--json", "s.json")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "s.json").read_text())["several_recordings"]["notes"] == []
