"""hgs from Python: every public name, values of every kind, errors in a line, files, and processes that fork."""

from __future__ import annotations

import inspect
import math
import os
import re
import subprocess
import sys
import time
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT, tone

import hgs_cli
from hgs_cli import HgsError, InputError, Inversion, Model, UsageError, WeightsError
from hgs_cli.spectrum import SAMPLE_RATE


@pytest.fixture(scope="module")
def cello(model: Model) -> Inversion:
    return hgs_cli.invert(model, tone(110.0, 0.3), SAMPLE_RATE)


# --- names ------------------------------------------------------------------------------------------------------------


def test_every_public_name_is_there_and_completes() -> None:
    for name in hgs_cli.__all__:
        assert getattr(hgs_cli, name) is not None, name
    assert set(hgs_cli.__all__) <= set(dir(hgs_cli))
    assert issubclass(hgs_cli.UsageError, hgs_cli.HgsError)
    with pytest.raises(AttributeError, match="no attribute 'rendr'"):
        hgs_cli.rendr  # noqa: B018 — looking it up is the test


def test_errors_and_notes_are_there_without_torch() -> None:
    code = (
        "import sys, hgs_cli\n"
        "assert 'torch' not in sys.modules\n"
        "hgs_cli.HgsError, hgs_cli.parse_pitches('C3-C5')\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    "name", ["load_model", "invert", "open_sound", "render", "mix", "write_instrument", "write_audition"]
)
def test_functions_say_what_they_raise(name: str) -> None:
    told = inspect.getdoc(getattr(hgs_cli, name))
    assert told is not None
    assert "Raises:" in told
    assert re.search(r"UsageError: \w+", told)


# --- values of every kind ---------------------------------------------------------------------------------------------


def test_paths_may_be_text_everywhere(model: Model, bundle: Path, cello: Inversion, tmp_path: Path) -> None:
    assert hgs_cli.load_model(str(bundle), "cpu").sha256 == model.sha256
    file = str(tmp_path / "cello.hgs")
    cello.save(file)
    assert Inversion.load(file).source_pitch == cello.source_pitch
    assert hgs_cli.open_sound(model, file).source_pitch == cello.source_pitch
    sound = str(tmp_path / "a.wav")
    soundfile.write(sound, tone(), SAMPLE_RATE)
    assert hgs_cli.open_sound(model, sound).kind == "pitched"
    assert hgs_cli.write_audition(model, cello, 60, str(tmp_path / "page.html")).is_file()
    assert all(path.is_file() for path in hgs_cli.write_instrument(model, cello, 60, str(tmp_path / "one")))


@pytest.mark.parametrize("rate", [44_100.0, np.float64(44_100), np.int32(44_100), torch.tensor(44_100)])
def test_float_sample_rates_are_fine(model: Model, rate: float) -> None:
    assert hgs_cli.invert(model, tone(), rate).source_pitch == pytest.approx(57.0, abs=0.1)
    assert hgs_cli.Finish(sample_rate=rate).sample_rate == 44_100  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "pitches",
    [[48, 60], (48.0, 60.0), np.array([48, 60]), torch.tensor([48.0, 60.0]), "C3,C4", ["C3", "C4"], range(48, 61, 12)],
)
def test_pitches_may_be_numbers_of_any_kind_or_text(model: Model, cello: Inversion, pitches: list[float]) -> None:
    assert [note.key.pitch for note in hgs_cli.render(model, cello, pitches).notes] == [48.0, 60.0]


@pytest.mark.parametrize("pitch", [60, 60.5, np.float32(60), torch.tensor(60.0), "C4"])
def test_one_pitch_is_a_pitch(model: Model, cello: Inversion, pitch: float) -> None:
    assert len(hgs_cli.render(model, cello, pitch).notes) == 1


@pytest.mark.parametrize(
    ("kind", "to_kind"),
    [
        ("int16", lambda a: (a * 32_767).astype(np.int16)),
        ("int32", lambda a: (a * (2**31 - 1)).astype(np.int32)),
        ("uint8", lambda a: (a * 127 + 128).astype(np.uint8)),
        ("big-endian", lambda a: a.astype(">f4")),
        ("float64", lambda a: a.astype(np.float64)),
        ("reversed twice", lambda a: a[::-1].copy()[::-1]),
        ("list", lambda a: a.tolist()),
        ("tensor", torch.from_numpy),
        ("frozen", lambda a: np.frombuffer(a.tobytes(), np.float32)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_sound_is_as_loud_whatever_its_samples_are(
    model: Model, kind: str, to_kind: Callable[[np.ndarray], np.ndarray]
) -> None:
    plain, other = (hgs_cli.invert(model, audio, SAMPLE_RATE) for audio in (tone(), to_kind(tone())))
    assert other.input_gain_db == pytest.approx(plain.input_gain_db, abs=0.2 if kind == "uint8" else 0.01)
    assert other.source_pitch == pytest.approx(plain.source_pitch, abs=0.01)


# --- values that cannot be --------------------------------------------------------------------------------------------

Call = Callable[[Model, Inversion, Path], object]

BAD: dict[str, tuple[Call, type[HgsError], str]] = {
    "no pitches": (lambda m, c, _: hgs_cli.render(m, c, []), UsageError, "no pitch to play"),
    "pitch 600": (lambda m, c, _: hgs_cli.render(m, c, [60, 600]), UsageError, "a pitch of 600 — give 0 to 127"),
    "NaN pitch": (lambda m, c, _: hgs_cli.render(m, c, [math.nan]), UsageError, "a pitch of nan"),
    "a pitch that is no number": (
        lambda m, c, _: hgs_cli.render(m, c, [None]),  # type: ignore[arg-type]
        UsageError, "a pitch of None",
    ),
    "a note that is none": (lambda m, c, _: hgs_cli.render(m, c, "H9"), UsageError, "'?H9'? is not a note"),
    "normalisation": (lambda *_: hgs_cli.Settings(normalize="rms"), UsageError, "'rms' — give lufs, peak or none"),
    "NaN loudness": (lambda *_: hgs_cli.Settings(lufs=math.nan), UsageError, "lufs of nan"),
    "no detail": (lambda *_: hgs_cli.Settings(detail=None), UsageError, "detail of None"),  # type: ignore[arg-type]
    "a text for a number": (
        lambda *_: hgs_cli.Settings(variation="1"),  # type: ignore[arg-type]
        UsageError, "variation of '1'",
    ),
    "half a seed": (lambda *_: hgs_cli.Settings(seed=1.5), UsageError, "a whole number"),  # type: ignore[arg-type]
    "a text for a flag": (
        lambda *_: hgs_cli.Settings(stereo="no"),  # type: ignore[arg-type]
        UsageError, "True or False",
    ),
    "NaN duration": (lambda *_: hgs_cli.Finish(duration_s=math.nan), UsageError, "a duration of nan s"),
    "a rate of half a Hz more": (
        lambda *_: hgs_cli.Finish(sample_rate=44_100.5),  # type: ignore[arg-type]
        UsageError, "44100.5 Hz",
    ),
    "a text for a rate": (
        lambda m, *_: hgs_cli.invert(m, tone(), "44k"),  # type: ignore[arg-type]
        InputError, "a sample rate of '44k' Hz",
    ),
    "a rate of 0": (lambda m, *_: hgs_cli.invert(m, tone(), 0), InputError, "a sample rate of 0 Hz"),
    "source pitch": (lambda m, *_: hgs_cli.invert(m, tone(), 44_100, pitch=128), UsageError, "pitch of 128"),
    "source note": (
        lambda m, *_: hgs_cli.invert(m, tone(), 44_100, pitch="A3"),  # type: ignore[arg-type]
        UsageError, "'auto'",
    ),
    "start": (
        lambda m, *_: hgs_cli.invert(m, tone(), 44_100, start_s=-1.0),
        UsageError, "start_s of -1 — give 0 or more",
    ),
    "seconds": (lambda m, *_: hgs_cli.invert(m, tone(), 44_100, max_seconds=math.nan), UsageError, "nan"),
    "passes": (lambda m, *_: hgs_cli.invert(m, tone(), 44_100, passes=1000), UsageError, "passes of 1000"),
    "NaN sound": (lambda m, *_: hgs_cli.invert(m, tone() * math.nan, 44_100), InputError, "not finite"),
    "text as sound": (
        lambda m, *_: hgs_cli.invert(m, "cello.wav", 44_100),  # type: ignore[arg-type]
        InputError, "no sound",
    ),
    "complex sound": (lambda m, *_: hgs_cli.invert(m, tone() * 1j, 44_100), InputError, "complex"),
    "rows that differ": (
        lambda m, *_: hgs_cli.invert(m, [[0.0], [0.0, 1.0]], 44_100),  # type: ignore[arg-type]
        InputError, "no sound",
    ),
    "a path as instrument": (
        lambda m, *_: hgs_cli.render(m, "cello.hgs", [60]),  # type: ignore[arg-type]
        UsageError, "str is no Inversion",
    ),
    "no model": (
        lambda _, c, __: hgs_cli.render(None, c, [60]),  # type: ignore[arg-type]
        UsageError, "NoneType is no Model",
    ),
    "NaN share": (lambda m, c, _: hgs_cli.mix(m, [c, c], [1, math.nan], [60]), UsageError, "a share of nan"),
    "shares": (lambda m, c, _: hgs_cli.mix(m, [c, c], [1.0], [60]), UsageError, "1 shares for 2 sounds"),
    "nothing to mix": (lambda m, *_: hgs_cli.mix(m, [], [], [60]), UsageError, "0 shares for 0 sounds"),
    "device": (lambda *_: hgs_cli.load_model(device="gpu"), UsageError, "'gpu' — choose auto, cpu or cuda"),
    "device of another kind": (
        lambda *_: hgs_cli.load_model(device=0),  # type: ignore[arg-type]
        UsageError, "unknown device 0",
    ),
    "weights": (lambda *_: hgs_cli.load_model("none.safetensors"), WeightsError, "none.safetensors are not a file"),
    "weights of another kind": (
        lambda *_: hgs_cli.load_model(3),  # type: ignore[arg-type]
        UsageError, "weights of 3 — give a path",
    ),
    "a file that is not there": (lambda *_: Inversion.load("none.hgs"), InputError, "none.hgs does not exist"),
    "a sound that is not there": (lambda m, *_: hgs_cli.open_sound(m, "none.wav"), InputError, "none.wav does not"),
    "a path of another kind": (
        lambda m, *_: hgs_cli.open_sound(m, b"a.wav"),  # type: ignore[arg-type]
        UsageError, "give a path",
    ),
    "a path with a zero": (lambda m, *_: hgs_cli.open_sound(m, "a\0.wav"), UsageError, "without a zero"),
    "a file as folder": (
        lambda _, c, at: c.save(at / "file" / "a.hgs"),
        hgs_cli.OutputError, "is a file|not a directory",
    ),
    "format": (
        lambda m, c, at: hgs_cli.write_instrument(m, c, 60, at / "x", formats="exs"),
        UsageError, "format 'exs' is unknown",
    ),
    "layers": (
        lambda m, c, at: hgs_cli.write_instrument(m, c, 60, at / "x", velocities=9), UsageError, "velocities of 9",
    ),
    "subtype": (
        lambda m, c, at: hgs_cli.write_instrument(m, c, 60, at / "x", subtype="PCM_8"),
        UsageError, "subtype of 'PCM_8'",
    ),
    "FLAC of floats": (
        lambda m, c, at: hgs_cli.write_instrument(m, c, 60, at / "x", formats="flac", subtype="FLOAT"),
        UsageError, "FLAC",
    ),
    "a name that leads out": (
        lambda m, c, at: hgs_cli.write_instrument(m, c, 60, at / "x", formats="sf2", name="../y"),
        UsageError, "the name",
    ),
    "a keyword that is none": (
        lambda m, c, at: hgs_cli.write_instrument(m, c, 60, at / "x", format="sfz"),  # type: ignore[call-arg]
        UsageError, "format is nothing",
    ),
    "a page of another name": (
        lambda m, c, at: hgs_cli.write_audition(m, c, 60, at / "page.txt"), UsageError, "ends in .html",
    ),
    "a page of nothing": (lambda m, _, at: hgs_cli.write_audition(m, {}, 60, at / "a.html"), UsageError, "0 sounds"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_every_bad_value_is_one_line_of_an_hgs_error(
    model: Model, cello: Inversion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    call, kind, line = BAD[case]
    with pytest.raises(kind) as caught:
        call(model, cello, tmp_path)
    told = str(caught.value)
    assert re.search(line, told, re.IGNORECASE), told
    assert " — " in told
    assert "\n" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "something was half-written"


def test_an_instrument_of_other_weights_is_told_and_made_again(cello: Inversion, tmp_path: Path) -> None:
    from hgs_cli.models.hyperganstrument import tiny_config
    from hgs_cli.models.weights import build_model, save_bundle

    save_bundle(tmp_path / "other.safetensors", build_model(tiny_config(), seed=9), "other")
    other = hgs_cli.load_model(tmp_path / "other.safetensors", "cpu")
    with pytest.raises(InputError, match=r"other weights .* reinvert\(model, inversion\)"):
        hgs_cli.render(other, cello, [60])
    with pytest.raises(InputError, match="other weights"):
        hgs_cli.write_instrument(other, cello, [60], tmp_path / "cello")
    assert len(hgs_cli.render(other, hgs_cli.reinvert(other, cello), [60]).notes) == 1


# --- instruments and pages --------------------------------------------------------------------------------------------


def test_an_instrument_written_from_python_is_what_the_command_writes(
    model: Model, hgs: Callable[..., object], sound: Path, tmp_path: Path
) -> None:
    told = hgs(
        "render", str(sound), "-p", "48-60:6", "--format", "sfz,dspreset,sf2", "--velocities", "2", "-o", "shell/tone"
    )
    assert told.code == 0, told.err  # type: ignore[attr-defined]
    files = hgs_cli.write_instrument(
        model, hgs_cli.open_sound(model, sound), "48-60:6", "python/tone",
        formats=["sfz", "dspreset", "sf2"], velocities=2, name="tone",
    )  # fmt: skip
    names = sorted(path.name for path in (tmp_path / "shell" / "tone").iterdir())
    assert sorted(path.name for path in files) == names
    for name in names:
        assert (tmp_path / "python" / "tone" / name).read_bytes() == (
            tmp_path / "shell" / "tone" / name
        ).read_bytes(), name


def test_an_instrument_is_called_as_its_folder_and_never_written_over_unasked(
    model: Model, cello: Inversion, tmp_path: Path
) -> None:
    files = hgs_cli.write_instrument(
        model, cello, [48, 60], tmp_path / "cello", formats="sfz", audition=True, plot=True
    )
    assert [path.name for path in files] == [
        "cello_048_C3.wav", "cello_060_C4.wav", "cello.sfz", "cello.html", "cello.png",
    ]  # fmt: skip
    with wave.open(str(files[0])) as note:
        assert note.getsampwidth() == 3
    assert "cello, recorded" in files[3].read_text(encoding="utf-8")
    with pytest.raises(hgs_cli.ExistingFileError, match="give force=True"):
        hgs_cli.write_instrument(model, cello, [48, 60], tmp_path / "cello", formats="sfz")
    assert hgs_cli.write_instrument(model, cello, [48, 60], tmp_path / "cello", formats="sfz", force=True)


def test_a_mix_is_an_instrument_and_its_steps_are_a_page(model: Model, cello: Inversion, tmp_path: Path) -> None:
    bell = hgs_cli.invert(model, tone(660.0, 0.3), SAMPLE_RATE)
    steps = {f"{share} %": hgs_cli.mix_instruments(model, [cello, bell], [100 - share, share]) for share in (25, 75)}
    page = hgs_cli.write_audition(model, steps, [60], tmp_path / "new" / "steps.html")
    text = page.read_text(encoding="utf-8")
    assert "25 %" in text
    assert "75 %" in text
    (note,) = hgs_cli.write_instrument(model, steps["25 %"], [60], tmp_path / "mixed")
    assert soundfile.info(note).frames > 0


def test_an_instrument_file_is_written_whole_or_not_at_all(cello: Inversion, tmp_path: Path) -> None:
    (tmp_path / "mine.hgs").write_text("mine")
    cello.save(tmp_path / "new" / "cello.hgs")
    assert Inversion.load(tmp_path / "new" / "cello.hgs").kind == cello.kind
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["cello.hgs", "mine.hgs", "new"]


# --- processes that fork ----------------------------------------------------------------------------------------------

FORKING = """
import multiprocessing, os, sys, warnings
import numpy, torch
warnings.simplefilter("ignore")  # Python 3.12 warns of every fork with threads
import hgs_cli
torch.set_num_threads(4)
model = hgs_cli.load_model(sys.argv[1], "cpu")
t = numpy.arange(22050) / 44100
sound = (0.3 * numpy.sin(2 * numpy.pi * 220 * t) * numpy.exp(-2 * t)).astype("f4")
cello = hgs_cli.invert(model, sound, 44100)
before = hgs_cli.render(model, cello, [50, 52, 54, 60]).audio
def play(number):
    again = hgs_cli.invert(model, sound, 44100)
    return [float((hgs_cli.render(model, one, [50, 52, 54, 60]).audio - before).abs().max()) for one in (cello, again)]
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(max(max(pair) for pair in pool.map(play, range(4))))
assert torch.get_num_threads() == 4  # here nothing has changed
"""


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_processes_that_are_forked_after_a_render_play_the_same_notes(bundle: Path) -> None:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", FORKING, str(bundle)],
        capture_output=True, text=True, timeout=120, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-4, f"{time.monotonic() - started:.0f} s"


def test_a_gpu_that_a_fork_has_made_unusable_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from hgs_cli.models.weights import check_not_forked

    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    with pytest.raises(UsageError, match="had used the GPU — start it with multiprocessing's spawn"):
        check_not_forked(torch.device("cuda"))
    check_not_forked(torch.device("cpu"))


@pytest.mark.gpu
def test_a_forked_process_is_told_that_the_gpu_cannot_go_with_it(bundle: Path) -> None:
    code = FORKING.replace('"cpu"', '"cuda"').replace("pool.map(play, range(4))", "pool.map(play, [0])")
    done = subprocess.run(
        [sys.executable, "-c", code, str(bundle)], capture_output=True, text=True, timeout=120, cwd=ROOT, check=False
    )
    assert "UsageError: this process was forked from one that had used the GPU" in done.stderr
