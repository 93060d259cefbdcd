"""Whatever is damaged: success, or one clear line and its exit code; never a traceback, a hang, or endless memory.

Files are built and then damaged with knowledge of how they are built (see damage.py). By default every test draws the
same few examples each time. `HGS_FUZZ=1 pytest tests/test_fuzz.py` draws twenty times as many, as .ci/run does, and
`HGS_FUZZ=100` a hundred times as many as that, other ones each time, in about an hour. What was found is a named test.
"""

from __future__ import annotations

import io
import json
import math
import os
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from conftest import Outcome, Run, tone
from damage import damage_bytes, damage_chunks, damage_stored, sound_corpus
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hgs_cli.audio.io import DEFAULT_SECONDS, MIN_SAMPLES, read_audio
from hgs_cli.cli.info import describe_file
from hgs_cli.errors import HgsError, InputError, UsageError, WeightsError
from hgs_cli.export.naming import PlanOptions, make_plan
from hgs_cli.export.sources import LISTENED_SUFFIXES, find_sources
from hgs_cli.files.atomic import check_targets
from hgs_cli.inversion import Inversion
from hgs_cli.pipeline import Model, Settings, invert, load_model, open_sound, render
from hgs_cli.pitch import parse_pitches
from hgs_cli.spectrum import SAMPLE_RATE

TIMES = float(os.environ.get("HGS_FUZZ", "0.05"))
SLOWEST_S = 20.0  # an example, on a busy machine
MAX_GROWTH_MIB = 1024  # of this process, over all examples

Given = TypeVar("Given", bound=Callable[..., None])


def examples(n: int) -> Callable[[Given], Given]:
    """So many examples, the same ones each time; many more and others where HGS_FUZZ asks for them."""
    return settings(
        max_examples=max(1, round(n * TIMES)),
        derandomize=TIMES <= 1,
        database=None,
        deadline=timedelta(seconds=SLOWEST_S),
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )


@pytest.fixture(scope="module", autouse=True)
def _within_memory() -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mib < MAX_GROWTH_MIB


def tried(work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What the work returns, or the HgsError that it raises, which is one line; anything else it raises is a bug."""
    try:
        return work(*arguments, **named)
    except HgsError as error:
        line = str(error)
        assert len(line.splitlines()) == 1
        assert " — " in line
        assert len(line) < 1000
        return error


def check_command(outcome: Outcome, codes: tuple[int, ...] = (0, 2, 3, 4, 5)) -> None:
    """Exit code and lines of a command that was given nonsense."""
    assert outcome.code in codes, outcome
    said = [line for line in outcome.err.splitlines() if line.startswith("hgs: error: ")]
    assert len(said) == (outcome.code != 0), outcome
    assert "Traceback" not in outcome.err


# --- sounds ---------------------------------------------------------------------------------------------------------

SOUNDS = sound_corpus()


@dataclass(frozen=True, repr=False)
class Damaged:
    """A damaged sound."""

    suffix: str
    data: bytes

    def __repr__(self) -> str:
        """Without the bytes, which are many; those of the last example are on disk."""
        return f"{len(self.data)} bytes of damaged {self.suffix}"


@st.composite
def damaged_sounds(draw: Any) -> Damaged:
    suffix, data = draw(st.sampled_from(SOUNDS))
    damage = draw(st.sampled_from((damage_bytes, damage_chunks)))
    suffix = draw(st.sampled_from((suffix, suffix, suffix, "wav", "raw", "mp3", "sd2", "hgs")))
    return Damaged(suffix, damage(draw, data))


@examples(400)
@given(damaged_sounds(), st.booleans())
def test_a_damaged_sound_is_heard_or_refused_in_a_line(
    tmp_path_factory: pytest.TempPathFactory, sound: Damaged, stereo: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / f"damaged.{sound.suffix}"
    path.write_bytes(sound.data)
    heard = tried(read_audio, path, stereo)
    if isinstance(heard, HgsError):
        assert isinstance(heard, InputError)
        return
    assert MIN_SAMPLES <= heard.audio.shape[0] <= DEFAULT_SECONDS * SAMPLE_RATE
    assert bool(torch.isfinite(heard.audio).all())
    assert heard.channels is None or heard.channels.shape == (2, *heard.audio.shape)
    assert math.isfinite(heard.cropped_s)
    assert heard.cropped_s >= 0.0


@examples(12)
@given(damaged_sounds())
def test_a_damaged_sound_is_rendered_or_refused_with_its_exit_code(hgs: Run, sound: Damaged) -> None:
    path = Path(f"damaged.{sound.suffix}")
    path.write_bytes(sound.data)
    outcome = hgs("render", path, "-p", "60", "-o", "out", "--force", "--quiet")
    check_command(outcome, (0, 3))
    assert outcome.code == 0 or outcome.out == ""


LEVELS = st.sampled_from((0.0, 1e-45, 1e-30, 1e-5, 3e-5, 0.5, 1.0, 100.0, 2.0**31, 1e9, 1e12, 1e38, math.nan, math.inf))


@st.composite
def odd_signals(draw: Any) -> np.ndarray:
    """Constants, clicks, squares, noise and tones at any level, in up to three channels, joined."""
    pieces = []
    for _ in range(draw(st.integers(1, 3))):
        n = draw(st.sampled_from((0, 1, 200, 441, 500, 3000, 20_000, 60_000)))
        time_s = np.arange(n) / 44_100
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        kind = draw(st.sampled_from(("constant", "click", "square", "noise", "tone", "highest")))
        piece = {
            "constant": np.ones(n), "click": np.arange(n) == n // 2, "noise": rng.standard_normal(n),
            "square": np.sign(np.sin(math.tau * 220 * time_s)), "highest": (-1.0) ** np.arange(n),
            "tone": np.sin(math.tau * draw(st.sampled_from((8.0, 27.5, 440.0, 4186.0, 20_000.0))) * time_s),
        }[kind]  # fmt: skip
        with np.errstate(all="ignore"):
            pieces.append((piece * draw(LEVELS) + draw(LEVELS) * draw(st.integers(0, 1))).astype(np.float32))
    mono = np.concatenate(pieces)
    channels = draw(st.integers(1, 3))
    signs = np.array([1.0, -1.0, 0.5], np.float32)[:channels]
    with np.errstate(all="ignore"):
        return mono if channels == 1 else np.asarray(mono[:, None] * signs, np.float32)


@examples(30)
@given(
    odd_signals(), st.sampled_from((4_000, 44_056, 44_100, 768_000)), st.sampled_from((0.0, 60.0, 127.0, "auto", None))
)
def test_any_signal_makes_finite_notes_or_is_refused(model: Model, signal: np.ndarray, rate: int, pitch: Any) -> None:
    inversion = tried(invert, model, signal, rate, pitch=pitch, stereo=True)
    if isinstance(inversion, HgsError):
        assert isinstance(inversion, InputError)
        return
    check_notes(model, inversion, [0.0, 60.0])


def check_notes(model: Model, inversion: Inversion, pitches: list[float]) -> None:
    """Notes of an instrument are finite and within full scale, or refused."""
    played = tried(render, model, inversion, pitches, Settings(stereo=True))
    if not isinstance(played, HgsError):
        assert bool(torch.isfinite(played.audio).all())
        assert float(played.audio.abs().max()) <= 1.0


# --- .hgs files and bundles -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def instruments(model: Model, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Stored instruments that between them hold every tensor that there is."""
    made = []
    both = np.stack([tone(), 0.3 * tone(330.0)], 1)
    for audio, pitch, passes in ((both, 57.0, 2), (tone(), None, None), (tone(), "auto", 0)):
        inversion = invert(model, audio, 44_100, pitch=pitch, passes=passes, stereo=True)  # type: ignore[arg-type]
        path = tmp_path_factory.mktemp("instruments") / "a.hgs"
        inversion.save(path)
        made.append(path.read_bytes())
    return made


@examples(120)
@given(st.data())
def test_a_damaged_instrument_plays_finite_notes_or_is_refused(
    model: Model, instruments: list[bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.hgs"
    pitch = data.draw(st.sampled_from((0.0, 57.0, 60.5, 127.0)))
    path.write_bytes(damage_stored(data.draw, data.draw(st.sampled_from(instruments))))
    json.dumps(tried(describe_file, path), default=str)
    inversion = tried(open_sound, model, path)
    if isinstance(inversion, HgsError):
        assert isinstance(inversion, InputError)
        return
    check_notes(model, inversion, [pitch])


@examples(100)
@given(st.data())
def test_a_damaged_bundle_is_used_or_refused(
    bundle: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    path.write_bytes(damage_stored(data.draw, bundle.read_bytes()))
    json.dumps(tried(describe_file, path), default=str)
    model = tried(load_model, path, "cpu")
    if isinstance(model, HgsError):
        assert isinstance(model, WeightsError)
        return
    inversion = tried(invert, model, tone(), 44_100, pitch=57.0)
    if not isinstance(inversion, HgsError):
        check_notes(model, inversion, [60.0])


@examples(40)
@given(st.data())
def test_info_prints_lines_of_anything_or_refuses_it(hgs: Run, instruments: list[bytes], data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([*instruments, b"", b"{}"]))
    spoilt = damage_stored(data.draw, whole) if len(whole) > 2 else data.draw(st.binary(max_size=64))
    Path("damaged.hgs").write_bytes(spoilt)
    outcome = hgs("info", "damaged.hgs", *data.draw(st.sampled_from(([], ["--json"]))))
    check_command(outcome, (0, 3))
    assert outcome.out.replace("\n", "").replace("\t", "").isprintable()


# --- the command line -----------------------------------------------------------------------------------------------

SPECS = st.one_of(
    st.text(max_size=30),
    st.text("0123456789-:.,;CDEFGABcb#♯♭ +einfa٣६\u2212", max_size=40),
    st.lists(
        st.sampled_from(("0-127", ":0.01", ":0.0000001", "1e309", "-", "C-1", "G9", ",", "C4-C4", ":999.999999", "٦٠",
                         "60", "-1", "48-72:3:3", "(0-9)", "9" * 400, "0x3C", "6_0", "½")),
        max_size=60,
    ).map("".join),
)  # fmt: skip


@examples(300)
@given(SPECS)
def test_any_pitch_spec_is_notes_or_a_usage_error(spec: str) -> None:
    pitches = tried(parse_pitches, spec)
    if isinstance(pitches, HgsError):
        assert isinstance(pitches, UsageError)
        return
    assert 1 <= len(pitches) <= 12_701
    assert all(0.0 <= pitch <= 127.0 for pitch in pitches)


PIECES = ("{stem}", "{midi}", "{midi:03d}", "{note}", "{cents}", "{layer}", "{velocity}", "{midi:c}", "{midi:99d}",
          "{midi:e}", "{stem!r}", "{0}", "{}", "{", "}", "{{", "}}", "{midi.real}", "{stem[0]}", "/", "//", "..", ".",
          "a", "ä" * 60, "x" * 200, "\n", "\x1b[2J", "\\", "{midi:{midi}}", "{note:>9}", "C:", "~", "a/" * 50,
          "\udce9")  # fmt: skip


@examples(300)
@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=8).map("".join)))
def test_any_template_gives_files_inside_the_folder_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, template: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "planned"
    plan = tried(make_plan, folder, "kick", PlanOptions([0.0, 46.0, 47.0, 60.5], ("wav", "flac"), {}, 2, template))
    if isinstance(plan, HgsError):
        assert isinstance(plan, UsageError)
        return
    assert len(set(plan.files)) == 16
    assert all(os.path.normpath(path).startswith(f"{folder}{os.sep}") for path in plan.files)
    tried(check_targets, plan.files, False)


@examples(100)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(("a.wav", "/", ".", "..", "\0", "\n", "\r\n", "~", "-",
                 "x" * 300, "\udce9.wav", "\u2028", " ", "a/../b.wav")), max_size=12).map("".join)))  # fmt: skip
def test_any_list_of_paths_is_sounds_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    empty = tmp_path_factory.mktemp("nothing", numbered=True)
    before = os.getcwd()
    os.chdir(empty)
    try:
        found = tried(
            find_sources, [Path("-")], False, io.BytesIO(text.encode("utf-8", "surrogateescape")), LISTENED_SUFFIXES
        )
    finally:
        os.chdir(before)
    if not isinstance(found, HgsError):
        for source in found[0]:
            assert isinstance(tried(read_audio, source.path), InputError)


OPTIONS = (
    "--source-note", "--detail", "--duration", "--fade", "--velocities", "--seed", "--tonal", "--variation",
    "--vibrato", "--tune", "--a4", "--normalize", "--lufs", "--sample-rate", "--subtype", "--format", "--passes",
    "--threads", "--device", "--weights", "--name", "--pitches", "--pitch", "--middle-c",
)  # fmt: skip
WORDS = st.one_of(
    st.sampled_from(("nan", "inf", "-inf", "1e309", "-1", "0", "1e-320", "٣", "", " ", "-", "9" * 400, "x" * 5000,
                     "None", "0x10", "1_0", "true", "/dev/null", "..", "\n", "60", "wav,wav", "PCM_16", "none")),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12),
)  # fmt: skip


@examples(60)
@given(st.lists(st.tuples(st.sampled_from(OPTIONS), WORDS), min_size=1, max_size=3))
def test_any_option_value_is_used_or_refused(hgs: Run, options: list[tuple[str, str]]) -> None:
    if not Path("quick.wav").exists():
        import soundfile

        soundfile.write("quick.wav", tone(220.0, 0.05), 44_100)
    given_ = [f"{name}={value}" for name, value in options]
    check_command(hgs("render", "quick.wav", "-o", "out", "-p", "60", *given_, "--force", "--quiet"), (0, 2, 4, 5))


@examples(40)
@given(st.sampled_from(("HGS_WEIGHTS", "HGS_DEVICE")), WORDS)
def test_any_environment_is_used_or_refused(hgs: Run, sound: Path, bundle: Path, name: str, value: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, value)
        outcome = hgs("render", sound, "-p", "60", "-o", "out", "--force", "--quiet", "--dry-run")
        check_command(outcome, (0, 2))
        if name == "HGS_WEIGHTS" and value:
            model = tried(load_model, None, "cpu")
            assert isinstance(model, WeightsError)


def test_an_example_is_quick(tmp_path: Path) -> None:
    """The longest spec that a shell passes on is answered at once, in processor time."""
    start = time.process_time()
    with pytest.raises(UsageError, match="100,000 notes"):
        parse_pitches(",".join(["0-127:0.01"] * 9000))
    assert time.process_time() - start < 5.0
