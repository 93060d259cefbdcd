"""Recordings from outside: the manifest's faults are named, and every recording that was used can be fetched again."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import RECORDINGS, ROOT, Run, note

from hgs_cli.errors import InputError, TrainingError
from hgs_cli.training.manifest import read_manifest
from hgs_cli.training.recorded import read_table

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


# --- every recording can be fetched again -----------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of what others have published, at 48 kHz in stereo with silence before, and a table of it."""
    clones = tmp_path / "clones"
    lines = ["# a table", "source\t0\tsomeone/flutes\t" + 40 * "a", "instrument\t0\treal\tflute\twind\tCC0-1.0"]
    lines += ["instrument\t1\treal2\tclap\toneshot-clap\tMIT", "instrument\t2\treal2\twavetable-x\tsynth\tCC0-1.0"]
    (clones / "someone" / "flutes").mkdir(parents=True)
    for name, key, level in (("loud #60.wav", 60, 0.5), ("soft 60.wav", 60, 0.1), ("67.wav", 67, 0.25)):
        audio = level / 0.3 * note(key, 1.0, sample_rate=48_000)
        both = np.stack([audio, audio], 1)
        soundfile.write(clones / "someone" / "flutes" / name, np.concatenate([np.zeros((4_800, 2)), both]), 48_000)
    burst = 0.3 * np.random.default_rng(1).standard_normal(22_050) * np.exp(-np.arange(22_050) / 4000)
    soundfile.write(clones / "someone" / "flutes" / "clap.wav", burst, 44_100)
    lines += [
        f"0\t0\tloud #60.wav\t60\t\t1\t\t{64 * '0'}", f"0\t0\tsoft 60.wav\t60\tsoft\t1\t\t{64 * '0'}",
        f"0\t0\t67.wav\t67\t\t0.9\t\t{64 * '0'}", f"1\t0\tclap.wav\t\t\t0.5\t\t{64 * '0'}",
        f"2\t0\tx.wav\t60\t\t1\tband-limited oscillator\t{64 * '0'}",
    ]  # fmt: skip
    (tmp_path / "table.tsv").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr("hgs_cli.training.recorded.find_released", lambda name: tmp_path / "table.tsv")
    return clones


def test_the_released_table_tells_of_every_recording(hgs: Run) -> None:
    listed = hgs("train", "recordings")
    assert listed.code == 0
    rows = [line.split("\t") for line in listed.lines]
    assert len(rows) == len({row[0] for row in rows}) == 1996
    assert all(
        re.fullmatch(r"https://raw\.githubusercontent\.com/[\w.-]+/[\w.-]+/[0-9a-f]{40}/\S+", row[1]) for row in rows
    )
    assert {row[2] for row in rows} == {"CC0-1.0", "CC-BY-4.0", "CC-BY-3.0", "Public domain", "MIT"}
    few = hgs("train", "recordings", "--set", "real", "--instrument", "trumpet")
    assert {line.split("/")[1] for line in few.lines} == {"trumpet"}
    assert (ROOT / "weights" / "recordings.tsv").stat().st_size < 300_000


@pytest.mark.real
def test_the_table_is_that_of_the_manifests() -> None:
    table = {(row.folder, row.stem): row for row in read_table()}
    for folder in ("real", "real2"):
        for told in json.loads((RECORDINGS / folder / "manifest.json").read_text())["files"]:
            row = table.pop((folder, told["file"].rsplit(".", 1)[0]))
            assert (row.instrument, row.family, row.licence, row.sha256) == tuple(
                told[key] for key in ("instrument", "family", "licence", "sha256")
            )
            assert (row.commit, row.path, row.midi) == (
                told["source_commit"],
                told["source_path"],
                told["midi_measured"],
            )
            assert told["source_repo"] == f"https://github.com/{row.repository}"
    assert table == {}


def test_recordings_are_fetched_prepared_and_can_be_learned_from(hgs: Run, source: Path, tmp_path: Path) -> None:
    address = f"file://{source}/{{repository}}/{{path}}"
    made = hgs("train", "recordings", "again", "--from", address)
    assert (made.code, made.lines) == (0, ["again"]), made.err
    assert "1 notes are wavetables" in made.err
    loud, rate = soundfile.read(tmp_path / "again" / "real" / "flute" / "flute_060_loud.flac")
    assert (rate, loud.shape) == (44_100, (44_100,))
    assert 20 * np.log10(np.abs(loud).max()) == pytest.approx(-1.0, abs=0.01)
    assert np.abs(loud[:150]).max() < 0.01 < np.abs(loud[:600]).max()
    soft, _ = soundfile.read(tmp_path / "again" / "real" / "flute" / "flute_060_soft.flac")
    assert np.abs(soft).max() == pytest.approx(np.abs(loud).max() / 5, rel=0.02)
    assert [one["file"] for one in read_manifest(tmp_path / "again" / "real2")] == ["oneshots/clap.flac"]
    built = hgs("train", "data", "data", "--no-soundfonts", "--real", "again/real", "--workers", "1")
    assert built.code == 0, built.err
    assert hgs("train", "recordings", "again", "--check").code == 0


def test_what_is_there_is_kept_and_what_is_not_what_it_was_is_told(hgs: Run, source: Path, tmp_path: Path) -> None:
    address = f"file://{source}/{{repository}}/{{path}}"
    assert hgs("train", "recordings", "again", "--from", address, "--instrument", "clap").code == 0
    kept = (tmp_path / "again" / "real2" / "oneshots" / "clap.flac").stat().st_mtime_ns
    shutil.copy(source / "someone" / "flutes" / "67.wav", source / "someone" / "flutes" / "loud #60.wav")
    (source / "someone" / "flutes" / "67.wav").unlink()
    made = hgs("train", "recordings", "again", "--from", address)
    assert made.code == 6
    assert "real/flute/flute_060_loud: does not sound at 60, as its recording did" in made.err
    assert re.search(r"real/flute/flute_067_loud: file://\S+ cannot be fetched", made.err)
    assert made.err.endswith("hgs: error: 2 of 5 recordings are missing or not what they were — try again\n")
    assert (tmp_path / "again" / "real2" / "oneshots" / "clap.flac").stat().st_mtime_ns == kept
    assert [one["dynamic"] for one in read_manifest(tmp_path / "again" / "real")] == ["soft"]
    checked = hgs("train", "recordings", "again", "--check")
    assert checked.code == 6
    assert "real/flute/flute_067_loud: is not there" in checked.err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--check"], "there is no folder"),
        (["out", "--check", "--from", "file:///{path}"], "--check fetches nothing"),
        (["out", "--from", "file:///clones"], "with {path} in it"),
        (["out", "--from", "ftp://x/{path}"], "give an https:// or file:// address"),
        (["out", "--from", "https://x/{branch}/{path}"], "use {repository}, {commit}, {path} in it"),
        (["out", "--instrument", "kazoo"], "no recording is of kazoo"),
    ],
)
def test_slips_are_a_line(hgs: Run, tmp_path: Path, arguments: list[str], line: str) -> None:
    outcome = hgs("train", "recordings", *arguments)
    assert outcome.code == 2
    assert line in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
