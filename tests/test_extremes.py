"""Inputs at the edge of what a file can say: each is played or refused in one line, in bounded time and memory.

Real processes are measured: `MAX_MIB` is what the manual (safety) promises for one sound at a time on the CPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT, Outcome, Run, few_of, tone
from damage import stored_bytes, stored_parts
from processes import Order, Processes

from hgs_cli.cli.info import describe_file
from hgs_cli.errors import InputError, UsageError, WeightsError
from hgs_cli.inversion import Inversion
from hgs_cli.pipeline import Model, Settings, invert, load_model, open_sound, render

MAX_MIB = 1024  # 700 of them are torch
MAX_S = 60.0  # of processor time
SHARED_MIB = 120  # files of libraries, which a copy of a process does not read again: it holds 128 to 134 less
MAX_DATA = 6 * 2**30  # the limit keeps a failure from the machine

# A process of its own forks hgs, so that what is measured is not this one.
MEASURE = f"""
import resource, subprocess, sys
resource.setrlimit(resource.RLIMIT_DATA, ({MAX_DATA}, {MAX_DATA}))
code = subprocess.run(sys.argv[2:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
open(sys.argv[1], "w").write(str(used.ru_maxrss / 1024) + " " + str(used.ru_utime + used.ru_stime))
sys.exit(code)
"""


@dataclass(frozen=True)
class Measured(Outcome):
    """What a command did, and what it took."""

    peak_mib: float
    seconds: float


def refusals(outcome: Outcome) -> list[str]:
    """The lines that say what could not be used; nothing else is on stderr of a quiet command."""
    lines = outcome.err.splitlines()
    assert all(line.startswith("hgs: error: ") and " — " in line for line in lines), outcome.err
    return lines


def measured(arguments: list[str], bundle: Path, folder: Path, stdin: bytes = b"") -> Measured:
    """Run hgs in a process, held to time and memory."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder / "peak"), sys.executable, "-m", "hgs_cli", *arguments],
        capture_output=True,
        input=stdin,
        cwd=folder,
        env={**os.environ, "HGS_WEIGHTS": str(bundle), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        timeout=10 * MAX_S,
        check=False,
    )
    peak_mib, seconds = map(float, (folder / "peak").read_text().split())
    assert peak_mib < MAX_MIB, arguments
    assert seconds < MAX_S, arguments
    return Measured(done.returncode, done.stdout.decode(), done.stderr.decode(), peak_mib, seconds)


Measure = Callable[..., Outcome]


@pytest.fixture(params=few_of(["ready", "new"], "ready"))
def measure(request: pytest.FixtureRequest, bundle: Path, tmp_path: Path) -> Measure:
    """Runs hgs held to time and memory: a copy of a process that has read the program, or a new process."""
    if request.param == "new":
        return lambda arguments, first="": measured(arguments, bundle, tmp_path)
    processes: Processes = request.getfixturevalue("processes")

    def run(arguments: list[str], first: str = "") -> Outcome:
        outcome = processes.run(tmp_path, Order(arguments, data=MAX_DATA, first=first))[0]
        ((peak_mib, seconds),) = processes.used
        assert peak_mib < MAX_MIB - SHARED_MIB, arguments
        assert seconds < MAX_S, arguments
        return outcome

    return run


# --- sounds ---------------------------------------------------------------------------------------------------------


def patched(path: Path, place: int, number: int, width: int = 4) -> None:
    data = bytearray(path.read_bytes())
    data[place : place + width] = number.to_bytes(width, "little")
    path.write_bytes(data)


def ten_hours(path: Path, samples: np.ndarray) -> None:
    """A WAV file that really has ten hours, all but the beginning a hole that takes no disk."""
    soundfile.write(path, samples, 44_100, subtype="PCM_16")
    n_bytes = 36_000 * 44_100 * 2
    patched(path, 4, 36 + n_bytes)
    patched(path, 40, n_bytes)
    os.truncate(path, 44 + n_bytes)


def test_sounds_at_the_edge_are_refused_one_line_each_in_bounded_time_and_memory(
    measure: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")  # ffmpeg is content with one or the other

    def stored(name: str, samples: np.ndarray, rate: int = 44_100, subtype: str = "FLOAT") -> Path:
        soundfile.write(tmp_path / name, samples, rate, subtype=subtype)
        return tmp_path / name

    sine = tone()
    said = {
        "one_sample.wav": "too short", "no_sample.wav": "is empty", "denormals.wav": "is silent", "dc.wav": "is silent",
        "nan.wav": "not finite", "infinite.wav": "not finite", "too_loud.wav": "up to 4e+29", "slow.wav": "at 1 Hz",
        "fast.wav": "at 2147483647 Hz", "channels.wav": "1024 channels", "hours.wav": "is silent in its first 120.0 s",
        "pipe.wav": "is a pipe or a device", "/dev/zero": "is a pipe or a device", "circle.wav": "cannot be reached",
        "missing.wav": "does not exist", "text.wav": "cannot be read as sound", "samples.raw": "cannot be read",
        "claims.flac": "cannot be read as sound", "pipe.hgs": "is a pipe or a device",
    }  # fmt: skip
    stored("one_sample.wav", np.ones(1))
    stored("no_sample.wav", np.zeros(0))
    stored("denormals.wav", np.full(20_000, 1e-42, np.float32) * np.tile([1, -1], 10_000).astype(np.float32))
    stored("dc.wav", np.full(20_000, 0.9))
    stored("nan.wav", np.full(20_000, np.nan))
    stored("infinite.wav", np.full(20_000, -np.inf))
    stored("too_loud.wav", (1e30 * sine).astype(np.float32))
    for name, rate in (("slow.wav", 1), ("fast.wav", 2**31 - 1)):
        patched(stored(name, sine, subtype="PCM_16"), 24, rate)
    stored("channels.wav", np.repeat(sine[:2000, None], 1024, 1), subtype="PCM_16")
    soundfile.write(tmp_path / "claims.flac", sine, 44_100)
    flac = bytearray((tmp_path / "claims.flac").read_bytes())
    flac[21] |= 0x0F  # the 36 bits of STREAMINFO that count the samples: 68 billion of them
    flac[22:26] = b"\xff" * 4
    (tmp_path / "claims.flac").write_bytes(flac)
    ten_hours(tmp_path / "hours.wav", np.zeros(10))
    for name in ("pipe.wav", "pipe.hgs"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "circle.wav").symlink_to(tmp_path / "circle.wav")
    (tmp_path / "text.wav").write_text("no sound at all")
    (tmp_path / "samples.raw").write_bytes(bytes(9000))
    if os.geteuid():  # root may read anything
        stored("locked.wav", sine).chmod(0)
        said["locked.wav"] = "permission denied"

    done = measure(["render", *said, "-p", "60", "-o", "out", "--quiet"], first="os.environ['PATH'] = ''")
    assert (done.code, done.out) == (3, "")
    for line, (name, what) in zip(refusals(done), said.items(), strict=True):
        assert name[:40] in line
        assert what in line


@pytest.mark.parametrize("names", [["claims", "square"], pytest.param(["hours", "wide"], marks=pytest.mark.thorough)])
def test_sounds_whose_headers_promise_too_much_are_played_for_what_they_hold(
    measure: Measure, tmp_path: Path, names: list[str]
) -> None:
    sine = tone()
    soundfile.write(tmp_path / "claims.wav", sine, 44_100, subtype="PCM_16")
    patched(tmp_path / "claims.wav", 4, 2**32 - 1)
    patched(tmp_path / "claims.wav", 40, 2**32 - 1)
    ten_hours(tmp_path / "hours.wav", sine)
    wide = np.repeat(tone(220.0, 1.0, 384_000)[:, None], 64, 1)
    soundfile.write(tmp_path / "wide.wav", wide, 384_000, subtype="PCM_16")
    soundfile.write(tmp_path / "square.wav", np.sign(sine), 44_100, subtype="PCM_16")
    done = measure(["render", *(f"{name}.wav" for name in names), "-p", "60", "-o", "out", "--quiet"])
    assert (done.code, done.err) == (0, "")
    assert len(done.out.splitlines()) == len(names)
    for line in done.out.splitlines():
        assert np.isfinite(soundfile.read(tmp_path / line)[0]).all()


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 2])
def test_a_minute_of_sound_is_played_in_bounded_memory(bundle: Path, tmp_path: Path, channels: int) -> None:
    minute = np.tile(tone(220.0, 1.0), 60)[:, None] * np.linspace(1.0, 0.5, channels)
    soundfile.write(tmp_path / "minute.wav", minute, 44_100)
    options = ["-p", "48,60,64", "--stereo"] if channels == 2 else ["-p", "48,60,64"]
    done = measured(["render", "minute.wav", *options, "-o", "out", "--quiet"], bundle, tmp_path)
    assert (done.code, done.err) == (0, "")
    for line in done.out.splitlines():
        assert soundfile.info(tmp_path / line).frames == len(minute)


def test_the_decoder_of_a_damaged_mp3_says_nothing_of_its_own(processes: Processes, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.mp3", tone(), 44_100)
    data = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "a.mp3").write_bytes(data[: len(data) // 2] + bytes(3000) + data[len(data) // 2 :])
    done = processes.run(tmp_path, Order(["render", "a.mp3", "-p", "60", "-o", "out", "--quiet"]))[0]
    assert done.code in (0, 3)
    assert len(refusals(done)) == (done.code == 3)


def test_names_that_are_not_utf_8_are_read_from_arguments(processes: Processes, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.wav")
    soundfile.write(tmp_path / "a.wav", tone(), 44_100)
    os.rename(tmp_path / "a.wav", tmp_path / name)
    done = processes.run(tmp_path, Order(["render", name, "-p", "60", "-o", "out", "--quiet", "--json"]))[0]
    assert (done.code, done.err) == (0, "")


@pytest.mark.thorough
def test_names_that_are_not_utf_8_are_read_from_lists(bundle: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(), 44_100)
    os.rename(tmp_path / "a.wav", tmp_path / os.fsdecode(b"caf\xe9.wav"))
    command = ["render", "-", "-p", "60", "-o", "out", "--quiet", "--json"]
    done = measured(command, bundle, tmp_path, b"caf\xe9.wav\n")
    assert (done.code, done.err) == (0, "")


def test_names_cannot_steer_the_terminal(hgs: Run) -> None:
    done = hgs("render", "\x1b[2Jgone\r\n.wav", "-p", "60", "--quiet")
    assert done.code == 3
    assert len(refusals(done)) == 1
    assert done.err.strip().isprintable()


# --- lists, specs and places ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_sounds", [3_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_long_list_of_sounds_of_one_name_is_planned(bundle: Path, tmp_path: Path, n_sounds: int) -> None:
    listed = b"".join(b"folder%d/kick.wav\n" % index for index in range(n_sounds))
    done = measured(["render", "-", "-p", "60", "--dry-run"], bundle, tmp_path, listed)
    assert done.code == 0
    assert len(set(done.out.splitlines())) == n_sounds


@pytest.mark.parametrize(
    "spec",
    [
        "0-127:0.0000001",
        "1e309",
        "9" * 5000,
        "٦٠",
        "60-62-64",
        "(48-50)-52",
        ",".join(["0-127:0.01"] * 9000),
        "x" * 100_000,
    ],
    ids=["stride", "exponent", "digits", "unicode", "nested", "repeated", "brackets", "long"],
)
def test_a_pathological_pitch_spec_is_one_short_line(bundle: Path, tmp_path: Path, spec: str) -> None:
    from hgs_cli.pitch import parse_pitches

    start = time.process_time()
    with pytest.raises(UsageError) as refused:
        parse_pitches(spec)
    assert len(str(refused.value)) < 1000
    assert time.process_time() - start < 5.0


def test_places_that_cannot_be_are_said_before_anything_is_made(hgs: Run, sound: Path) -> None:
    long = "a" * 300
    assert hgs("render", f"{long}.wav", "-p", "60").err.startswith("hgs: error: name ")
    assert "cannot be reached" in hgs("render", f"{long}.wav", "-p", "60", "--name", "{midi}", "-o", "out").err
    for options in (["-o", long], ["-o", "out", "--name", "a/" * 2500 + "{midi}"]):
        outcome = hgs("render", sound, "-p", "60", *options)
        assert outcome.code == 5
        assert outcome.err.startswith("hgs: error: cannot write ")
        assert len(outcome.err.splitlines()) == 1


def test_settings_that_are_no_numbers_are_refused_in_python_too() -> None:
    for bad in ({"detail": float("nan")}, {"lufs": float("inf")}, {"tune_cents": 1e9}, {"variation": -1.0}):
        with pytest.raises(UsageError, match="give "):
            Settings(**bad)  # type: ignore[arg-type]


# --- instruments and weights ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def instrument(model: Model, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("instrument") / "a.hgs"
    invert(model, tone(), 44_100, pitch=57.0).save(path)
    return path.read_bytes()


def deep(header: dict[str, Any]) -> bytes:
    """A file whose header nests lists, deeper than any parser goes."""
    text = json.dumps(header).replace('"PLACE"', "[" * 200_000 + "]" * 200_000)
    return len(text).to_bytes(8, "little") + text.encode()


def hostile(data: bytes) -> dict[str, bytes]:
    """A good file of hgs with headers that ask for too much."""
    header, body = stored_parts(data)
    first = next(name for name in header if name != "__metadata__")
    facts = header["__metadata__"]["hgs"]
    enormous = {"dtype": "F16", "shape": [10**6, 10**6], "data_offsets": [0, 2 * 10**12]}
    many = {f"offsets.{index}": {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]} for index in range(100_000)}
    packed = {**header, "__metadata__": {"hgs": "[" * 100_000}}
    text = json.dumps(packed).encode()
    return {
        "endless_header": b"\xff" * 8 + data[8:],
        "header_of_a_gigabyte": (2**30).to_bytes(8, "little") + data[8:],
        "nested": deep({**header, "x": "PLACE"}),
        "nested_within": len(text).to_bytes(8, "little") + text + body,
        "enormous_tensor": stored_bytes({**header, first: enormous}, body),
        "tensor_elsewhere": stored_bytes({**header, first: {**header[first], "data_offsets": [2**62, 2**63]}}, body),
        "many_tensors": stored_bytes({**header, **many}, body),
        "no_facts": stored_bytes({**header, "__metadata__": {"hgs": [facts]}}, body),
        "double": stored_bytes({**header, first: {**header[first], "dtype": "F64"}}, body),
        "nothing": b"",
    }


def test_hostile_instruments_are_refused_one_line_each_in_bounded_memory(
    instrument: bytes, measure: Measure, tmp_path: Path, hgs: Run
) -> None:
    files = hostile(instrument)
    header, body = stored_parts(instrument)
    head = header["offsets.head"]
    rank = (60 * 2**20) // (2 * head["shape"][1])  # as much as the largest file may hold
    n_bytes = 2 * head["shape"][1] * rank
    told = {"dtype": "F16", "shape": [1, head["shape"][1], rank], "data_offsets": [len(body), len(body) + n_bytes]}
    files["enormous_rank"] = stored_bytes({**header, "offsets.head": told}, body + bytes(n_bytes))
    for name, data in files.items():
        (tmp_path / f"{name}.hgs").write_bytes(data)
    (tmp_path / "holes.hgs").write_bytes(instrument)
    os.truncate(tmp_path / "holes.hgs", 2**40)
    names = [f"{name}.hgs" for name in [*files, "holes"]]
    done = measure(["render", *names, "-p", "60", "-o", "out", "--quiet"])
    assert (done.code, done.out) == (3, "")
    for line, name in zip(refusals(done), names, strict=True):
        assert line.startswith(f"hgs: error: {name} is ")
    assert hgs("info", *names).code == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [("feature", 3e38), ("detail.harmonic", 6e4), ("mel", -6e4), ("cents", 1e38), ("first.noise_part", 6e4),
     ("offsets.head", 6e4), ("offsets.constant", -6e4), ("detail.noise_part", float("nan"))],
)  # fmt: skip
def test_finite_but_absurd_values_in_an_instrument_are_refused(
    model: Model, instrument: bytes, tmp_path: Path, name: str, value: float
) -> None:
    header, body = stored_parts(instrument)
    kind = np.float32 if name in ("feature", "cents") else np.float16
    start, end = header[name]["data_offsets"]
    values = np.frombuffer(body[start:end], kind).copy()
    values[len(values) // 2] = value
    (tmp_path / "a.hgs").write_bytes(stored_bytes(header, body[:start] + values.tobytes() + body[end:]))
    with pytest.raises(InputError, match="no sound has"):
        Inversion.load(tmp_path / "a.hgs")


def test_offsets_of_another_rank_than_the_passes_make_are_refused(
    model: Model, instrument: bytes, tmp_path: Path
) -> None:
    header, body = stored_parts(instrument)
    for changes in ({"passes": 2}, {"passes": 0}):
        facts = {**header["__metadata__"]["hgs"], **changes}
        (tmp_path / "a.hgs").write_bytes(stored_bytes({**header, "__metadata__": {"hgs": facts}}, body))
        with pytest.raises(InputError, match="does not fit the weights"):
            open_sound(model, tmp_path / "a.hgs")


def test_a_residual_as_large_as_a_wrong_pitch_makes_it_gives_finite_notes(model: Model) -> None:
    """Told of the highest note, G and a low sound disagree by hundreds of dB, and a tone is made of the rest."""
    for pitch in (127.0, 0.0):
        inversion = invert(model, tone(60.0), 44_100, pitch=pitch)
        harmonic = inversion.detail.harmonic.clone()
        harmonic[40:60] += 30.0
        inversion = replace(inversion, detail=replace(inversion.detail, harmonic=harmonic))
        played = render(model, inversion, [24.0, 60.0, 100.0])
        assert bool(torch.isfinite(played.audio).all())


SIZES: dict[str, dict[str, Any]] = {
    "gigantic": {"generator": {"channels": [10**9] * 4}},
    "large": {"generator": {"channels": [65_536, 65_536, 65_536, 65_536], "w_dim": 65_536}},
    "wide": {"hypernetwork": {"hidden_dim": 65_536, "block_dim": 65_536, "rank": 65_536, "head_rank": 65_536}},
    "negative": {"generator": {"w_dim": -1}},
    "zero": {"feature_extractor": {"timbre_dim": 0}},
    "fraction": {"detail_transfer": {"width": 4.0}},
    "boolean": {"generator": {"z_dim": True}},
    "text": {"generator": {"z_dim": "4"}},
    "list": {"generator": [1, 2]},
    "passes": {"hypernetwork": {"n_passes": 10**4}},
    "no_channels": {"feature_extractor": {"channels": []}},
    "one_channel": {"feature_extractor": {"channels": [8]}},
    "many_channels": {"generator": {"channels": [8] * 100_000}},
    "segments": {"feature_extractor": {"segments": [5, 3, 1, 2, 2, 99]}},
    "grid": {"feature_extractor": {"map_grid": [2, 3, 4]}},
    "frames": {"generator": {"channels": [8, 8, 8]}},
    "timbre": {"generator": {"timbre_dim": 9}},
    "floats_in_mel": {"mel": {"n_fft": 2048.0}},
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_sizes_that_no_network_has_are_refused_before_memory_is_taken(
    bundle: Path, tmp_path: Path, sizes: dict[str, Any]
) -> None:
    path = bundle_of(sizes, bundle, tmp_path)
    start = time.process_time()
    with pytest.raises(WeightsError, match="header"):
        load_model(path, "cpu")
    assert time.process_time() - start < 5.0


def bundle_of(sizes: dict[str, Any], bundle: Path, folder: Path) -> Path:
    header, body = stored_parts(bundle.read_bytes())
    config = header["__metadata__"]["hgs"]["config"]
    for part, changes in sizes.items():
        config[part] = {**config[part], **changes} if isinstance(changes, dict) else changes
    (folder / "b.safetensors").write_bytes(stored_bytes(header, body))
    return folder / "b.safetensors"


@pytest.mark.parametrize(
    "sizes", ["gigantic", *(pytest.param(sizes, marks=pytest.mark.thorough) for sizes in ("large", "wide"))]
)
def test_a_bundle_that_tells_of_gigantic_networks_costs_no_memory(
    measure: Measure, bundle: Path, tmp_path: Path, sizes: str
) -> None:
    path = bundle_of(SIZES[sizes], bundle, tmp_path)
    soundfile.write(tmp_path / "a.wav", tone(), 44_100)
    done = measure(["render", "a.wav", "-p", "60", "--weights", str(path), "--quiet"])
    assert (done.code, done.out) == (4, "")
    assert len(refusals(done)) == 1


def test_hostile_bundles_are_refused_in_one_line(bundle: Path, tmp_path: Path) -> None:
    for name, data in hostile(bundle.read_bytes()).items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(data)
        with pytest.raises(WeightsError) as refused:
            load_model(path, "cpu")
        assert str(path) in str(refused.value)
        with pytest.raises(InputError):
            describe_file(path)


def test_weights_that_are_finite_but_absurd_are_refused_when_they_are_used(bundle: Path, tmp_path: Path) -> None:
    header, body = stored_parts(bundle.read_bytes())
    loud = np.full(len(body) // 2, 6e4, np.float16).tobytes()
    filters = header["generator.filters"]["data_offsets"]
    loud = loud[: filters[0]] + body[filters[0] : filters[1]] + loud[filters[1] :]
    (tmp_path / "b.safetensors").write_bytes(stored_bytes(header, loud))
    model = load_model(tmp_path / "b.safetensors", "cpu")
    with pytest.raises(WeightsError, match="use the released"):
        invert(model, tone(), 44_100, pitch=57.0)


@pytest.mark.parametrize("sums", [b"junk\n", b"\xff\xfe\n", b"  \n\n", None], ids=["junk", "binary", "blank", "folder"])
def test_a_damaged_list_of_checksums_is_said_and_never_believed(
    bundle: Path, tmp_path: Path, sums: bytes | None
) -> None:
    (tmp_path / "b.safetensors").write_bytes(bundle.read_bytes())
    (tmp_path / "SHA256SUMS").mkdir() if sums is None else (tmp_path / "SHA256SUMS").write_bytes(sums)
    if sums is not None and not sums.strip():
        assert load_model(tmp_path / "b.safetensors", "cpu").version == "tiny"
        return
    with pytest.raises(WeightsError, match="SHA256SUMS"):
        load_model(tmp_path / "b.safetensors", "cpu")


def test_weights_that_are_no_file_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for place in (tmp_path / "pipe", tmp_path / "circle", "/dev/zero", "x" * 5000, tmp_path):
        monkeypatch.setenv("HGS_WEIGHTS", str(place))
        with pytest.raises(WeightsError, match="HGS_WEIGHTS"):
            load_model(None, "cpu")


def test_an_endless_bundle_is_refused_before_its_checksum_is_made(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "b.safetensors").write_bytes(bundle.read_bytes())
    os.truncate(tmp_path / "b.safetensors", 2**40)
    for read in (load_model, describe_file):
        start = time.process_time()
        with pytest.raises((WeightsError, InputError)):
            read(tmp_path / "b.safetensors")
        assert time.process_time() - start < 5.0
