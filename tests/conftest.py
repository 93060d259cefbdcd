"""Sounds, a tiny untrained model and ways to run hgs, shared by all tests."""

from __future__ import annotations

import patient_threads  # noqa: F401  # isort: skip

import functools
import gc
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import settings
from typer.main import get_command
from typer.testing import CliRunner

from hgs_cli.audio.io import Recording
from hgs_cli.audio.mel import LogMel
from hgs_cli.cli.app import app
from hgs_cli.console import Report
from hgs_cli.models.hyperganstrument import tiny_config
from hgs_cli.models.weights import build_model, find_bundle, save_bundle
from hgs_cli.pipeline import Inversion, Model, load_model
from hgs_cli.sampler.settings import SourceHint
from hgs_cli.sampler.vocoder import Vocoder
from hgs_cli.spectrum import SAMPLE_RATE, MelConfig, mel_filters

if TYPE_CHECKING:
    from processes import Processes  # which imports this file

ROOT = Path(__file__).resolve().parent.parent
SNARE = ROOT / "tests" / "golden" / "snare.wav"
RELEASED = ROOT / "weights" / "hgs.safetensors"
RECORDINGS = ROOT.parent / "shared" / "data"  # all that tests look for outside the checkout; marker `real`


if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in the background of a shell, where nobody can interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("hgs", deadline=None)  # how long an example takes says more of the machine than of hgs
settings.load_profile("hgs")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Reference audio changes only when it is asked to."""
    parser.addoption("--regenerate-golden", action="store_true", help="store what is heard now as the reference")


def pytest_collection_finish() -> None:
    """Modules and tests are no garbage: it is not looked for among them."""
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine or checkout cannot run, and say why."""
    if item.get_closest_marker("weights") and not RELEASED.is_file():
        pytest.skip("this checkout has no released weights")
    if item.get_closest_marker("real") and not all((RECORDINGS / name).is_dir() for name in ("real", "real2")):
        pytest.skip(f"the real recordings are not beside this checkout, in {RECORDINGS}")
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads, and lose much to them on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _one_bank_of_noise() -> Iterator[None]:
    """Every sampler of training batches draws noise from a bank that is the same each time: here it is made once."""
    from hgs_cli.training.batches import NoiseTextureBank

    make = NoiseTextureBank.__init__
    made: dict[tuple[bytes, int, int], torch.Tensor] = {}

    def remember(bank: NoiseTextureBank, filters: torch.Tensor, seed: int = 0, n_frames: int = 6000) -> None:
        key = (filters.detach().cpu().numpy().tobytes(), seed, n_frames)
        if key not in made:
            make(bank, filters, seed, n_frames)
            made[key] = bank.factors
        bank.factors = made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NoiseTextureBank, "__init__", remember)
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_command_line() -> Iterator[None]:
    """Typer's runner reads all options of all commands anew for every call: here they are read once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.testing._get_command", functools.cache(get_command))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_disks() -> Iterator[None]:
    """Files that tests make need not outlive the machine, and waiting for the disk a thousand times takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _every_sound_is_heard_once() -> Iterator[None]:
    """Listening takes longer than playing, and most tests listen to the same few sounds: here it is done once."""
    from hgs_cli.sampler.analysis import invert_recording

    heard: dict[object, tuple[Model, Inversion, list[str]]] = {}

    def remember(
        model: Model, recording: Recording, pitch: SourceHint, passes: int | None, report: Report = lambda line: None
    ) -> Inversion:
        if model.version != "tiny" and model.path != RELEASED:
            return invert_recording(model, recording, pitch, passes, report)
        sound = recording.audio if recording.channels is None else recording.channels
        digest = hashlib.sha256(sound.numpy().tobytes()).digest()
        key = (id(model), digest, sound.ndim, recording.cropped_s > 0.0, recording.cancelled, pitch, passes)
        if key not in heard:
            lines: list[str] = []
            heard[key] = (model, invert_recording(model, recording, pitch, passes, lines.append), lines)
        for line in heard[key][2]:
            report(line)
        return heard[key][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hgs_cli.pipeline.invert_recording", remember)
        yield


def few_of(values: Iterable[Any], *kept: Any) -> list[Any]:
    """Values (tuples of several arguments) to parametrise a test with, all but those that are kept `thorough`."""
    return [
        value
        if value in kept
        else pytest.param(*(value if isinstance(value, tuple) else [value]), marks=pytest.mark.thorough)
        for value in values
    ]


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """A way to set the number of threads, which is put back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def log_mel() -> LogMel:
    """The front end."""
    return LogMel()


@pytest.fixture(scope="session")
def vocoder() -> Vocoder:
    """Envelopes to sound."""
    return Vocoder(mel_filters(MelConfig()))


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a tiny untrained model, with offsets that are not zero."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    network = build_model(tiny_config(), seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():  # an untrained hypernetwork changes nothing; this one does
        for name, parameter in network.hypernetwork.named_parameters():
            if "outputs" in name:
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    save_bundle(path, network, "tiny")
    return path


@pytest.fixture(scope="session")
def model(bundle: Path) -> Model:
    """The tiny model, loaded."""
    return load_model(bundle, "cpu")


@pytest.fixture(scope="session")
def released() -> Model:
    """The released model; only for tests marked `weights`."""
    return load_model(RELEASED, "cpu")


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Lines on stdout."""
        return self.out.splitlines()

    @property
    def complaints(self) -> list[str]:
        """Lines on stderr but those that say what was heard."""
        return [line for line in self.err.splitlines() if ": heard as " not in line]


Run = Callable[..., Outcome]


@pytest.fixture
def hgs(bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> Run:
    """Run hgs in this process, in an empty folder, with the tiny model; it and the released one are loaded once."""

    def load(weights: Path | None = None, device: str = "auto") -> Model:
        loaded = {bundle: "model", RELEASED: "released"}.get(find_bundle(weights))
        if loaded is None or device not in ("auto", "cpu") or torch.cuda.is_available():
            return load_model(weights, device)
        model: Model = request.getfixturevalue(loaded)
        return model

    monkeypatch.setattr("hgs_cli.pipeline.load_model", load)
    monkeypatch.setenv("HGS_WEIGHTS", str(bundle))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path, stdin: str | None = None) -> Outcome:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], stdin, prog_name="hgs")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


def run_process(arguments: list[str], bundle: Path, folder: Path, **environment: str) -> Outcome:
    """Run hgs as a shell would, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "hgs_cli", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "HGS_WEIGHTS": str(bundle), "PYTHONPATH": str(ROOT), **environment},
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session", autouse=True)
def _processes_are_soon_ready(request: pytest.FixtureRequest) -> None:
    """They take seconds to read the program, in which the first tests can run."""
    if any("processes" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("processes")


@pytest.fixture(scope="session")
def processes(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Calls of hgs as processes that start at once."""
    from processes import Processes

    made = Processes(bundle, tmp_path_factory.mktemp("said"))
    yield made
    made.close()


def tone(f0_hz: float = 220.0, seconds: float = 0.5, sample_rate: int = 44_100, n_harmonics: int = 6) -> np.ndarray:
    """A decaying tone, (T,)."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    waves = [np.sin(2 * np.pi * f0_hz * k * time) / k for k in range(1, n_harmonics + 1)]
    samples: np.ndarray = 0.25 * np.sum(waves, axis=0) * np.exp(-2.0 * time)
    return samples.astype(np.float32)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A half-second tone at A3 in a file."""
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(), 44_100)
    return path


@pytest.fixture
def burst(tmp_path: Path) -> Path:
    """A short decaying noise in a file."""
    rng = np.random.default_rng(5)
    samples = 0.3 * rng.standard_normal(13_000) * np.exp(-np.arange(13_000) / 3000)
    path = tmp_path / "burst.wav"
    soundfile.write(path, samples.clip(-1, 1), 44_100)
    return path


def note(pitch: float, seconds: float = 1.5, brightness: float = 0.6, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """A decaying tone with harmonics, (T,)."""
    time_s = np.arange(int(seconds * sample_rate)) / sample_rate
    f0_hz = 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)
    total = sum(brightness**k * np.sin(2 * np.pi * k * f0_hz * time_s) for k in range(1, 12) if k * f0_hz < 18_000)
    samples: np.ndarray = 0.3 * total * np.exp(-2.0 * time_s)
    return samples.astype(np.float32)


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of made recordings in the layout that --real reads."""
    folder = tmp_path_factory.mktemp("recordings")
    entries = []
    for instrument, brightness in (("dull", 0.4), ("bright", 0.8), ("trumpet", 0.6), ("clap", 0.0)):
        for key in (48, 51, 60):
            pitched = instrument != "clap"
            audio = note(key, brightness=brightness)
            if not pitched:
                audio = np.random.default_rng(key).normal(0, 0.2, audio.shape).astype(np.float32) * np.exp(
                    -np.arange(audio.size) / 4000
                ).astype(np.float32)
            name = f"{instrument}_{key}.wav"
            soundfile.write(folder / name, audio, SAMPLE_RATE)
            entries.append(
                {
                    "file": name, "instrument": instrument, "family": "test", "pitched": pitched,
                    "midi_measured": float(key) if pitched else None, "dynamic": "loud", "licence": "CC0-1.0",
                }
            )  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps({"files": entries}))
    return folder


@pytest.fixture(scope="session")
def dataset(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set of these recordings."""
    from hgs_cli.training.data import build_dataset

    out = tmp_path_factory.mktemp("data")
    build_dataset(out, [recordings], soundfonts=[], workers=1)
    return out
