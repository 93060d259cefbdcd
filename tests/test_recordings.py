"""Recordings from outside: the manifest's faults are named, and every recording that was used can be fetched again."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Run

from hgs_cli.errors import InputError, TrainingError
from hgs_cli.training.manifest import read_manifest

# --- the manifest -----------------------------------------------------------------------------------------------------


def entry(**changes: Any) -> dict[str, Any]:
    plain = {
        "file": "a.wav", "instrument": "flute", "family": "wind", "pitched": True, "midi_measured": 60.0,
        "dynamic": "loud", "licence": "CC0-1.0",
    }  # fmt: skip
    return {key: value for key, value in (plain | changes).items() if value is not ...}


def written(folder: Path, *entries: object) -> Path:
    folder.mkdir(exist_ok=True)
    for name in ("a.wav", "b.wav"):
        (folder / name).touch()
    (folder / "manifest.json").write_text(json.dumps({"files": entries}))
    return folder


def test_the_manifest_of_the_manual_is_one(tmp_path: Path) -> None:
    page = (ROOT / "hgs_cli" / "manual" / "training.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    for one in json.loads(example)["files"]:
        (tmp_path / one["file"]).parent.mkdir(exist_ok=True)
        (tmp_path / one["file"]).touch()
    (tmp_path / "manifest.json").write_text(example)
    flute, clap = read_manifest(tmp_path)
    assert (flute["midi_measured"], clap["dynamic"], clap["licence"]) == (60.021, "loud", "unknown")
    keys = set(re.findall(r"^\| `(\w+)` \|", page[page.index("| key |") : page.index("## Options")], re.MULTILINE))
    assert keys == set(flute)


FAULTS: dict[str, tuple[list[Any], str]] = {
    "no file": ([entry(), entry(file=...)], "entry 2: file is missing — give the sound file"),
    "file of another kind": ([entry(file=3)], "entry 1: file is 3"),
    "no instrument": ([entry(instrument=...)], r"entry 1 \(a.wav\): instrument is missing"),
    "no family": ([entry(), entry(file="b.wav", family="")], r"entry 2 \(b.wav\): family is \"\""),
    "pitched as text": ([entry(pitched="yes")], r'entry 1 \(a.wav\): pitched is "yes" — give true, or false'),
    "no pitch": ([entry(midi_measured=...)], r"entry 1 \(a.wav\): midi_measured is missing — give the MIDI note"),
    "pitch of nothing": ([entry(midi_measured=None)], "midi_measured is null"),
    "pitch as text": ([entry(midi_measured="C4")], 'midi_measured is "C4"'),
    "pitch beyond": ([entry(midi_measured=440.0)], "midi_measured is 440.0"),
    "pitch that is no number": ([entry(midi_measured=float("nan"))], "midi_measured is NaN"),
    "dynamic": ([entry(dynamic="mf")], 'dynamic is "mf" — give loud or soft'),
    "licence": ([entry(licence=1)], "licence is 1"),
    "a file that is not there": ([entry(file="c.wav")], r"entry 1 \(c.wav\): there is no such file"),
    "a file outside": ([entry(file="../a.wav")], "file leads out of"),
    "a name too long": ([entry(file="a" * 300)], "there is no such file"),
    "no object": ([entry(), "b.wav"], "entry 2 is no object"),
    "two kinds": ([entry(), entry(file="b.wav", pitched=False)], r"entry 2 \(b.wav\): pitched is false, and a.wav"),
    "nothing": ([], "lists no files"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_manifest_names_file_entry_and_key(tmp_path: Path, fault: str) -> None:
    entries, line = FAULTS[fault]
    folder = written(tmp_path / "recordings", *entries)
    for kind in (TrainingError, InputError):
        with pytest.raises(kind, match=line) as caught:
            read_manifest(folder, kind)
        assert str(folder / "manifest.json") in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [("{", "no JSON"), ("[]", "no list 'files'"), ('{"files": {}}', "no list 'files'"), ("[" * 100_000, "no JSON")],
    ids=["cut", "list", "object", "deep"],
)
def test_what_is_no_manifest_is_told(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(TrainingError, match=line):
        read_manifest(tmp_path)
    with pytest.raises(InputError, match=r"cannot be read .* need a manifest\.json"):
        read_manifest(tmp_path / "none", InputError)


@pytest.mark.parametrize(("command", "code"), [(["data", "out", "--no-soundfonts"], 6), (["eval", "--quick"], 3)])
def test_commands_name_the_fault_and_leave_nothing(
    hgs: Run, recordings: Path, tmp_path: Path, command: list[str], code: int
) -> None:
    shutil.copytree(recordings, tmp_path / "recordings")
    told = json.loads((tmp_path / "recordings" / "manifest.json").read_text())
    del told["files"][4]["midi_measured"]
    (tmp_path / "recordings" / "manifest.json").write_text(json.dumps(told))
    outcome = hgs("train", *command, "--real", "recordings", "--workers", "1")
    assert outcome.code == code
    line = r"hgs: error: recordings/manifest\.json: entry 5 \(bright_51\.wav\): midi_measured is missing — .*\n"
    assert re.fullmatch(line, outcome.err), outcome.err
    assert not list((tmp_path / "out").glob("*.safetensors"))
