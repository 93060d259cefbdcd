"""The cross-pitch test notices what is broken, names what is missing, and gives the same figures every time."""

import copy
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from conftest import Run, few_of
from PIL import Image
from torch import Tensor

from hgs_cli.errors import InputError
from hgs_cli.evaluation import cross_pitch
from hgs_cli.evaluation.cross_pitch import measure_cross_pitch
from hgs_cli.evaluation.cross_pitch_result import CrossPitchResult
from hgs_cli.evaluation.measures import Distance, track_pitch
from hgs_cli.evaluation.peers import Peers, find_peers, play_faster
from hgs_cli.evaluation.recordings import read_notes
from hgs_cli.evaluation.report import Report, Section, Table, number
from hgs_cli.evaluation.sources import CrossPitchOptions
from hgs_cli.pipeline import Model, Settings
from hgs_cli.sampler.vocoder import Vocoder
from hgs_cli.sampler.voices import CarrierHead, MovedHead, move_carriers
from hgs_cli.spectrum import SAMPLE_RATE

OURS = ["GANStrument (H off), detail 0", "hgs, detail 0", "GANStrument (H off)", "hgs"]
QUICK = CrossPitchOptions(quick=True)


def note(midi: float, seconds: float, decay: float) -> Tensor:
    """A note with a formant near 1 kHz and a little noise, (T,)."""
    time = torch.arange(int(seconds * SAMPLE_RATE), dtype=torch.float64) / SAMPLE_RATE
    f0_hz = 440.0 * 2.0 ** ((midi - 69.0) / 12.0)
    total = torch.zeros_like(time)
    for k in range(1, 24):
        level = 1.0 / k / (1.0 + ((k * f0_hz - 1000.0) / 800.0) ** 2) + 0.02 / k
        total += level * torch.cos(math.tau * k * f0_hz * time + k * k) * torch.exp(-decay * math.sqrt(k) * time)
    noise = torch.randn(time.shape, generator=torch.Generator().manual_seed(round(midi)), dtype=torch.float64)
    total += 0.003 * noise * torch.exp(-decay * time)
    return (0.5 * total / total.abs().max() * (time / 0.02).clamp(max=1.0)).float()


def write_recordings(folder: Path, instruments: dict[str, str], pitches: tuple[int, ...], seconds: float) -> Path:
    """A manifest of instruments, each of a family, with a note at every pitch."""
    files = []
    for instrument, family in instruments.items():
        for midi in pitches:
            name = f"{instrument}_{midi}.wav"
            audio = note(midi, seconds, decay=1.0 if family == "wind" else 5.0)
            soundfile.write(folder / name, audio.numpy(), SAMPLE_RATE)
            files.append(
                {
                    "file": name,
                    "instrument": instrument,
                    "family": family,
                    "pitched": True,
                    "midi_measured": float(midi),
                    "dynamic": "loud",
                }
            )
    (folder / "manifest.json").write_text(json.dumps({"files": files}))
    return folder


@pytest.fixture(scope="module")
def real_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of the validation instruments, as the test plays them."""
    folder = tmp_path_factory.mktemp("real")
    return write_recordings(folder, {"trumpet": "wind", "kalimba": "plucked"}, (50, 57, 60, 63, 72), 0.4)


@pytest.fixture
def no_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of the model need not wait for others."""
    monkeypatch.setattr(cross_pitch, "find_peers", lambda: Peers([], {}))


# --- the table ------------------------------------------------------------------------------------------------------


def test_every_row_is_measured_and_can_be_kept(model: Model, real_dir: Path) -> None:
    result = measure_cross_pitch(model, real_dir, ["trumpet", "kalimba"], QUICK)
    assert result.rows == [*result.peers.figures["peers"], *OURS]
    assert result.rows[:3] == ["copy", "resampling", "resampling, while it lasts"]
    assert len(result.pairs) == 6
    assert result.distance("copy", "0").mean == pytest.approx(0.0, abs=1e-3)
    assert result.distance("hgs", "0").mean < result.distance("hgs, detail 0", "0").mean
    assert result.gain("copy", "0").mean == pytest.approx(result.distance("hgs", "0").mean, abs=1e-3)
    assert [pair.cents is None for pair in result.pairs] == [pair.source.family == "plucked" for pair in result.pairs]

    report = Report({"version": "test", "sha256": "0" * 64}, {"seed": 0}, [result.section()])
    figures = json.loads(report.to_json())["cross_pitch"]
    distance = result.distance("hgs", "1-5")
    assert figures["distance_db"]["hgs"]["1-5"]["mean"] == pytest.approx(distance.mean)
    assert figures["distance_db"]["hgs"]["1-5"]["interval_95"] == pytest.approx([distance.low, distance.high])
    assert figures["distance_db"]["hgs"]["13-24"]["mean"] is None
    assert figures["by_family_db"]["wind"]["hgs"]["0"]["n_instruments"] == 1
    assert len(figures["pairs"]) == 6
    for table in report.tables():
        assert all(len(row) == len(table.header) for row in table.rows), table.title


@pytest.mark.thorough
def test_resampling_upwards_is_followed_by_silence_and_kinder_while_it_lasts(model: Model, real_dir: Path) -> None:
    options = CrossPitchOptions(hyper=False)
    result = measure_cross_pitch(model, real_dir, ["trumpet"], options)
    octave = next(pair for pair in result.pairs if pair.target.midi - pair.source.midi == 12.0)
    real = torch.from_numpy(soundfile.read(octave.target.path, dtype="float32")[0])
    source = torch.from_numpy(soundfile.read(octave.source.path, dtype="float32")[0])
    shifted = play_faster(source, 12.0)
    distance = Distance()
    assert octave.distance_db["resampling"] == pytest.approx(distance(shifted, real, len(real)), abs=1e-3)
    kinder = octave.distance_db["resampling, while it lasts"]
    assert kinder == pytest.approx(distance(shifted, real, len(shifted)), abs=1e-3)
    assert kinder < octave.distance_db["resampling"]


def test_without_the_hypernetwork_only_ganstrument_is_measured(model: Model, real_dir: Path, no_peers: None) -> None:
    result = measure_cross_pitch(model, real_dir, ["kalimba"], CrossPitchOptions(quick=True, hyper=False))
    assert result.rows == ["GANStrument (H off), detail 0", "GANStrument (H off)"]
    section = result.section()
    assert section.figures["hyper"] is None
    assert not any("H at the source pitch" in table.title for table in section.tables)


def test_figures_are_the_same_again(model: Model, real_dir: Path, no_peers: None) -> None:
    options = CrossPitchOptions(quick=True, hyper=False)
    first, again = (measure_cross_pitch(model, real_dir, ["kalimba"], options).section().figures for _ in range(2))
    assert again == first


@pytest.mark.thorough
def test_figures_are_the_same_again_and_with_any_number_of_workers(model: Model, real_dir: Path) -> None:
    first, again, apart = (
        measure_cross_pitch(model, real_dir, ["trumpet", "kalimba"], QUICK, workers=workers).section().figures
        for workers in (1, 1, 2)
    )
    assert again == first
    assert apart == first


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.thorough)])
def test_an_unusable_recording_is_named_by_a_worker_too(model: Model, tmp_path: Path, workers: int) -> None:
    folder = write_recordings(tmp_path, {"trumpet": "wind", "kalimba": "plucked"}, (60,), 0.3)
    (folder / "kalimba_60.wav").write_bytes(b"not a sound")
    with pytest.raises(InputError, match="kalimba_60"):
        measure_cross_pitch(model, folder, ["trumpet", "kalimba"], QUICK, workers=workers)


def test_a_folder_without_recordings_is_refused(tmp_path: Path, real_dir: Path) -> None:
    with pytest.raises(InputError):
        read_notes(tmp_path / "nothing", ["trumpet"])
    with pytest.raises(InputError):
        read_notes(real_dir, ["trombone"])


# --- peers ----------------------------------------------------------------------------------------------------------


def test_resampling_moves_the_pitch() -> None:
    assert track_pitch(play_faster(note(57.0, 1.0, 1.0), 5.0)) == pytest.approx(62.0, abs=0.03)
    assert track_pitch(play_faster(note(57.0, 1.0, 1.0), -7.0)) == pytest.approx(50.0, abs=0.03)


@pytest.mark.parametrize("name", ["Rubber Band R3", "Rubber Band R3 -F", "Signalsmith Stretch", "WORLD"])
@pytest.mark.parametrize(("midi", "semitones"), few_of([(60.0, 7.0), (31.0, -5.0)], (60.0, 7.0)))
def test_a_peer_plays_the_note_that_is_asked_for(name: str, midi: float, semitones: float) -> None:
    peers = find_peers()
    if name in peers.missing:
        pytest.skip(peers.missing[name])
    audio = note(midi, 1.0, 1.0)
    peer = next(peer for peer in peers.found if peer.name == name)
    shifted = peer.open(audio, midi)(semitones)
    # Its blocks do not tell the harmonics of 49 Hz apart, and move them unevenly.
    tolerance = 0.5 if name == "Signalsmith Stretch" and midi < 40.0 else 0.1
    assert track_pitch(shifted) == pytest.approx(midi + semitones, abs=tolerance)
    assert abs(len(shifted) - len(audio)) < 0.1 * SAMPLE_RATE


def test_a_peer_that_is_not_installed_is_named_and_has_no_row(
    model: Model, real_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pyworld", None)
    monkeypatch.setitem(sys.modules, "python_stretch", None)
    result = measure_cross_pitch(model, real_dir, ["kalimba"], CrossPitchOptions(quick=True, hyper=False))
    assert list(result.peers.missing) == ["Rubber Band R3", "Rubber Band R3 -F", "Signalsmith Stretch", "WORLD"]
    assert not set(result.peers.missing) & set(result.rows)
    section = result.section()
    assert section.figures["missing_peers"]["Rubber Band R3"] == "the program rubberband is not installed"
    assert any(line.startswith("Not measured: WORLD (") for line in section.tables[0].notes)


def fake_rubber_band(folder: Path, version: str) -> None:
    """A program that knows its version and can do nothing else."""
    program = folder / "rubberband"
    program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo {version} && exit\necho "cannot" >&2\nexit 1\n')
    program.chmod(0o755)


def test_a_rubber_band_without_the_finer_engine_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_rubber_band(tmp_path, "2.0.0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert find_peers().missing["Rubber Band R3"] == "the program rubberband is older than 3.0"


def test_a_peer_that_fails_is_an_error_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_rubber_band(tmp_path, "3.3.0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    peer = next(peer for peer in find_peers().found if peer.name == "Rubber Band R3")
    with pytest.raises(InputError, match="rubberband failed: cannot"):
        peer.open(note(60.0, 0.3, 1.0), 60.0)(1.0)


# --- what is broken is noticed --------------------------------------------------------------------------------------


class Sharp(Vocoder):
    """Plays a semitone too high."""

    def __call__(self, e_h: Tensor, e_n: Tensor, pitch: Tensor, **others: Any) -> Tensor:
        """As the real one, at another pitch."""
        return super().__call__(e_h, e_n, pitch + 1.0, **others)


class Noisy(Vocoder):
    """Plays noise where harmonics should be."""

    def __call__(self, e_h: Tensor, e_n: Tensor, pitch: Tensor, **others: Any) -> Tensor:
        """As the real one, the parts exchanged."""
        return super().__call__(e_n, e_h, pitch, **others)


@pytest.fixture(scope="module")
def measure(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[Model, CrossPitchOptions], CrossPitchResult]]:
    """Measures a model on one instrument that the test plays."""
    folder = write_recordings(tmp_path_factory.mktemp("one"), {"oboe": "wind"}, (57, 60, 67), 0.8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_pitch, "find_peers", lambda: Peers([], {}))
        yield lambda model, options: measure_cross_pitch(model, folder, ["oboe"], options)


@pytest.fixture(scope="module")
def intact(released: Model, measure: Callable[[Model, CrossPitchOptions], CrossPitchResult]) -> CrossPitchResult:
    """The released model, measured."""
    return measure(released, QUICK)


@pytest.mark.weights
class TestBroken:
    """Each break moves the figure that should notice it."""

    @pytest.mark.thorough
    def test_a_hypernetwork_with_a_random_last_layer(
        self, released: Model, intact: CrossPitchResult, measure: Callable[..., CrossPitchResult]
    ) -> None:
        network = copy.deepcopy(released.network)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, parameter in network.hypernetwork.named_parameters():
                if "outputs" in name:
                    parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
        broken = measure(replace(released, network=network), QUICK)
        gain, before = (r.section().figures["hyper"]["db_gain"]["mean"] for r in (broken, intact))
        assert gain < before - 0.3
        row = "hgs, detail 0"
        assert broken.distance(row, "0").mean > intact.distance(row, "0").mean + 0.3
        off = "GANStrument (H off), detail 0"
        assert broken.distance(off, "0").mean == pytest.approx(intact.distance(off, "0").mean, abs=1e-6)

    @pytest.mark.thorough
    def test_no_detail_by_default(
        self, released: Model, intact: CrossPitchResult, measure: Callable[..., CrossPitchResult]
    ) -> None:
        broken = measure(released, CrossPitchOptions(quick=True, detail=0.0))
        assert broken.distance("hgs", "0").mean > intact.distance("hgs", "0").mean + 1.0

    @pytest.mark.thorough
    def test_notes_a_semitone_too_high(
        self,
        released: Model,
        intact: CrossPitchResult,
        measure: Callable[..., CrossPitchResult],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def sharp(
            carriers: Sequence[CarrierHead | None], pitches: Sequence[float], settings: Settings
        ) -> list[MovedHead | None]:
            return move_carriers(carriers, [pitch + 1.0 for pitch in pitches], settings)

        monkeypatch.setattr("hgs_cli.sampler.notes.move_carriers", sharp)
        broken = measure(replace(released, vocoder=Sharp(released.log_mel.filters)), QUICK)
        assert not intact.misses()
        assert len(broken.misses()) == len(broken.tracked()) == 3
        figures = broken.section().figures["pitch"]
        assert figures["n_within_50_cents"] == 0
        assert figures["median_cents"] == pytest.approx(100.0, abs=15.0)
        assert figures["misses"][0]["render"] == "oboe 60 → 60"

    @pytest.mark.thorough
    def test_noise_in_place_of_harmonics(
        self, released: Model, intact: CrossPitchResult, measure: Callable[..., CrossPitchResult]
    ) -> None:
        row = "hgs, detail 0"  # drawn voices alone
        broken = measure(replace(released, vocoder=Noisy(released.log_mel.filters)), QUICK)
        assert broken.side_signed(row, "hnr_db").mean < intact.side_signed(row, "hnr_db").mean - 6.0
        assert broken.side_absolute(row, "hnr_db").mean > intact.side_absolute(row, "hnr_db").mean + 6.0


# --- the report and the command ------------------------------------------------------------------------------------


def test_a_report_shows_settings_tables_and_their_notes() -> None:
    table = Table("Title", ("row", "figure"), [("a", number(1.234)), ("b", number(math.nan))], ("A note.",))
    section = Section("part", [table], {"a": 1.234, "b": math.inf})
    report = Report({"version": "1.0", "sha256": "f" * 64}, {"seed": 3}, [section])
    markdown = report.to_markdown()
    assert "Weights 1.0 (sha256 ffffffffffff…), seed 3." in markdown
    assert "| a | 1.23 |\n| b | – |\n\nA note.\n" in markdown
    values = json.loads(report.to_json())
    assert values["part"] == {"a": 1.234, "b": None}
    assert values["settings"] == {"seed": 3}


@pytest.mark.thorough
def test_the_command_writes_figures_tables_and_pictures(hgs: Run, real_dir: Path, tmp_path: Path) -> None:
    figures, tables, plots = tmp_path / "out.json", tmp_path / "out.md", tmp_path / "plots"
    arguments = ["train", "eval", "--real", real_dir, "--quick", "--workers", "1", "--plots", plots]
    outcome = hgs(*arguments, "--json", figures, "--markdown", tables)
    assert outcome.code == 0, outcome.err
    assert "2/2 instruments" in outcome.err
    assert "\nhgs\t" in outcome.out
    assert json.loads(figures.read_text())["settings"]["quick"] is True
    assert "| hgs |" in tables.read_text()

    names = sorted(path.name for path in plots.iterdir())
    worst = max(json.loads(figures.read_text())["cross_pitch"]["pairs"], key=lambda pair: pair["distance_db"]["hgs"])
    assert names[0].startswith(f"1_worst_01_{worst['instrument']}_060-0{worst['target_midi']:.0f}_")
    assert [name.split("_")[2] for name in names if name.startswith("2_typical")] == ["kalimba", "trumpet"]
    with Image.open(plots / names[0]) as picture:
        assert picture.width > 1000

    refused = hgs(*arguments)
    assert refused.code == 5
    assert refused.err.count("\n") == 1
    shutil.rmtree(plots)


@pytest.mark.parametrize(
    "arguments",
    [[], ["--held-out", "d", "--plots", "p"], ["--data", "d", "--detectors"], ["--real", "r", "--runs", "x"]],
)
def test_an_evaluation_of_nothing_is_refused_in_one_line(hgs: Run, arguments: list[str]) -> None:
    refused = hgs("train", "eval", *arguments)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
