"""Sounds are read whatever they are stored in, and written as asked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import tone
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hgs_cli.audio import io
from hgs_cli.audio.io import MODEL_SECONDS, from_array, read_audio, to_sample_rate, write_audio
from hgs_cli.errors import InputError, UsageError
from hgs_cli.spectrum import MODEL_SAMPLES, SAMPLE_RATE


def stored(
    path: Path, samples: np.ndarray, sample_rate: int = SAMPLE_RATE, subtype: str = "FLOAT", kind: str | None = None
) -> Path:
    soundfile.write(path, samples, sample_rate, subtype=None if kind else subtype, format=kind)
    return path


def test_a_float_file_is_read_exactly(tmp_path: Path) -> None:
    samples = tone()
    recording = read_audio(stored(tmp_path / "a.wav", samples))
    assert np.array_equal(recording.audio.numpy(), samples)
    assert (recording.cropped_s, recording.cancelled) == (0.0, False)


@pytest.mark.parametrize("sample_rate", [8_000, 22_050, 48_000, 96_000, 44_056])
def test_every_sample_rate_keeps_length_and_pitch(tmp_path: Path, sample_rate: int) -> None:
    path = stored(tmp_path / "a.wav", tone(1000.0, 0.5, sample_rate, n_harmonics=1), sample_rate)
    audio = read_audio(path).audio
    assert abs(audio.shape[0] - SAMPLE_RATE // 2) <= 2
    spectrum = np.abs(np.fft.rfft(audio.numpy() * np.hanning(audio.shape[0]), 2**19))
    assert spectrum.argmax() * SAMPLE_RATE / 2**19 == pytest.approx(1000.0, abs=0.3)


def test_stereo_is_mixed_to_mono(tmp_path: Path) -> None:
    left, right = tone(220), tone(330)
    audio = read_audio(stored(tmp_path / "a.wav", np.stack([left, right], 1))).audio
    np.testing.assert_allclose(audio.numpy(), (left + right) / 2, atol=1e-7)


def test_channels_that_cancel_out_are_not_lost(tmp_path: Path) -> None:
    left = tone(220)
    recording = read_audio(stored(tmp_path / "a.wav", np.stack([left, -left], 1)))
    assert recording.cancelled
    np.testing.assert_allclose(recording.audio.numpy(), left)


def test_a_long_sound_is_read_whole_unless_less_is_asked_for(tmp_path: Path) -> None:
    samples = tone(220, 6.0)
    path = stored(tmp_path / "a.wav", samples)
    whole = read_audio(path)
    assert np.array_equal(whole.audio.numpy(), samples)
    assert whole.cropped_s == 0.0
    part = read_audio(path, max_seconds=MODEL_SECONDS)
    assert np.array_equal(part.audio.numpy(), samples[:MODEL_SAMPLES])
    assert part.cropped_s == pytest.approx(6.0 - MODEL_SAMPLES / SAMPLE_RATE, abs=1e-3)
    held = from_array(samples, SAMPLE_RATE, max_seconds=2.5)
    assert np.array_equal(held.audio.numpy(), samples[: round(2.5 * SAMPLE_RATE)])
    assert held.cropped_s == pytest.approx(3.5, abs=1e-3)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.009, 601.0, float("nan"), float("inf")])
def test_a_length_that_cannot_be_read_is_refused(tmp_path: Path, seconds: float) -> None:
    path = stored(tmp_path / "a.wav", tone())
    with pytest.raises(UsageError, match=r"0\.01 to 600 s"):
        read_audio(path, max_seconds=seconds)
    with pytest.raises(UsageError, match=r"0\.01 to 600 s"):
        from_array(tone(), SAMPLE_RATE, max_seconds=seconds)


@pytest.mark.parametrize("sample_rate", [8_000, 48_000, 44_056])
def test_a_sound_resampled_in_pieces_has_no_seams(monkeypatch: pytest.MonkeyPatch, sample_rate: int) -> None:
    rng = np.random.default_rng(2)
    both = rng.uniform(-0.5, 0.5, (5 * sample_rate, 2)).astype(np.float32)
    whole = to_sample_rate(torch.from_numpy(both.T.copy()), sample_rate)
    monkeypatch.setattr(io, "FILES", replace(io.FILES, resampled_frames=30_000, block_frames=7_001))
    pieces = from_array(both, sample_rate, stereo=True)
    assert pieces.channels is not None
    torch.testing.assert_close(pieces.channels, whole, atol=1e-6, rtol=0.0)
    torch.testing.assert_close(pieces.audio, whole.mean(0), atol=1e-6, rtol=0.0)


@pytest.mark.thorough
def test_a_long_file_costs_little_more_memory_than_what_is_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    noise = rng.uniform(-0.5, 0.5, (192_000, 2))
    with soundfile.SoundFile(tmp_path / "a.wav", "w", 192_000, 2, "PCM_16") as file:
        for _ in range(40):
            file.write(noise)
    code = (
        "import resource, sys; from pathlib import Path; from hgs_cli.audio.io import read_audio;"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "read_audio(Path(sys.argv[1]), True, max_seconds=2.0); before = peak();"
        "print(read_audio(Path(sys.argv[1]), True).channels.shape[1], peak() - before)"
    )
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "a.wav"], capture_output=True, text=True, check=True)
    n_samples, more_kb = map(int, run.stdout.split())
    assert n_samples == 40 * SAMPLE_RATE
    assert more_kb < 4 * n_samples * 2 * 4 / 1000 + 60_000  # the file as floats would be 61 MB, and its copies more


def test_only_what_is_used_of_a_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(tmp_path / "a.wav", np.tile(tone(220, 1.0), 60), subtype="PCM_16")
    frames = 0
    plain = soundfile.SoundFile.read

    def counted(self: soundfile.SoundFile, count: int = -1, **options: object) -> np.ndarray:
        nonlocal frames
        block: np.ndarray = plain(self, count, **options)
        frames += len(block)
        return block

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    read_audio(path, max_seconds=5.0)
    assert frames < 5 * SAMPLE_RATE + 10_000


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.wav", None, "does not exist"),
        ("text.wav", b"hello, I am not a sound at all", "cannot be read as sound"),
        ("nothing.wav", b"", "cannot be read as sound"),
    ],
)
def test_a_file_that_is_no_sound_is_named_plainly(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_audio(tmp_path / name)


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "AU", "W64", "RF64", "MP3"])
def test_a_sound_that_ends_before_its_time_is_told(tmp_path: Path, kind: str) -> None:
    whole = stored(tmp_path / "whole", tone(220.0, 1.0), kind=kind)
    assert read_audio(whole).flaw == ""
    data = whole.read_bytes()
    (tmp_path / "half").write_bytes(data[: len(data) // 2])
    told = read_audio(tmp_path / "half")
    assert re.fullmatch(r"ends early: 0\.[4-7]\d s of its 1\.0\d s are not there", told.flaw)
    assert 0.3 < told.audio.shape[0] / SAMPLE_RATE < 0.6


@pytest.mark.parametrize("length", [0x7F00_0000 - 36, 2**31 - 1, 2**32 - 1])
def test_the_header_of_a_pipe_that_could_not_know_its_length_is_believed(tmp_path: Path, length: int) -> None:
    data = bytearray(stored(tmp_path / "a.wav", tone(), subtype="PCM_16").read_bytes())
    data[40:44] = length.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    recording = read_audio(tmp_path / "a.wav")
    assert (recording.flaw, recording.audio.shape[0]) == ("", tone().size)


def test_without_ffmpeg_a_phones_sound_says_how_to_get_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "memo.m4a").write_bytes(b"\0\0\0\x1cftypM4A " + bytes(100))
    (tmp_path / "unnamed").write_bytes((tmp_path / "memo.m4a").read_bytes())
    (tmp_path / "film.mp4").write_bytes(bytes(100))
    for name in ("memo.m4a", "unnamed", "film.mp4"):
        with pytest.raises(InputError, match=r"through ffmpeg, which is not on PATH — install it \(apt install ffmpeg"):
            read_audio(tmp_path / name)
    (tmp_path / "cut.ogg").write_bytes(stored(tmp_path / "a.ogg", tone(), kind="OGG").read_bytes()[:2000])
    with pytest.raises(InputError, match="it is damaged or cut off — copy or export it again"):
        read_audio(tmp_path / "cut.ogg")


def test_ffmpeg_decodes_what_libsndfile_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in that says what it was asked, as there may be no ffmpeg here."""
    stored(tmp_path / "decoded.wav", tone())
    program = tmp_path / "ffmpeg"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n. {tmp_path}/does\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    memo = tmp_path / "-memo.m4a"
    memo.write_bytes(b"\0\0\0\x1cftypM4A " + bytes(100))
    (tmp_path / "does").write_text(f"cat {tmp_path}/decoded.wav")
    recording = read_audio(memo, max_seconds=5.0)
    assert np.allclose(recording.audio.numpy(), tone(), atol=1e-4)
    assert recording.flaw == ""
    asked = (tmp_path / "asked").read_text()
    assert "-protocol_whitelist file -format_whitelist mov,mp4," in asked
    assert f"-i file:{memo} -map 0:a:0 -t 6 " in asked
    (tmp_path / "does").write_text(f"cat {tmp_path}/decoded.wav; echo '[mov @ 0x1f] partial file' >&2")
    assert read_audio(memo).flaw == "may be damaged or cut off: ffmpeg says 'partial file'"
    (tmp_path / "does").write_text("echo '[mov @ 0x1f] moov atom not found' >&2; exit 1")
    with pytest.raises(InputError, match=r"ffmpeg says 'moov atom not found' — copy or export it again$"):
        read_audio(memo)
    (tmp_path / "does").write_text("echo RIFF and no sound")
    with pytest.raises(InputError, match="cannot be read as sound"):
        read_audio(memo)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize(("suffix", "codec"), [("m4a", "aac"), ("mp4", "aac"), ("webm", "libopus"), ("wma", "wmav2")])
def test_sounds_of_phones_and_films_are_heard(tmp_path: Path, suffix: str, codec: str) -> None:
    stored(tmp_path / "a.wav", tone(220.0, 1.0))
    path = tmp_path / f"ä: b.{suffix}"
    command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.wav"), "-c:a", codec, str(path)]
    assert subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode == 0
    heard = read_audio(path)
    assert heard.flaw == ""
    assert heard.audio.shape[0] / SAMPLE_RATE == pytest.approx(1.0, abs=0.05)
    spectrum = np.abs(np.fft.rfft(heard.audio.numpy()[: SAMPLE_RATE // 2]))
    assert 2.0 * spectrum.argmax() == pytest.approx(220.0, abs=2.0)
    with open(path, "rb") as given:  # as it comes through a pipe, it has no name
        assert torch.equal(read_audio(Path(f"/dev/fd/{given.fileno()}")).audio, heard.audio)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_ffmpeg_reads_no_list_of_other_files(tmp_path: Path) -> None:
    stored(tmp_path / "secret.wav", tone())
    for name, text in (
        ("a.m3u8", "#EXTM3U\n#EXTINF:1,\nsecret.wav\n"),
        ("a.m4a", "ffconcat version 1.0\nfile secret.wav\n"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match="cannot be read as sound"):
            read_audio(tmp_path / name)


def test_a_folder_is_no_sound(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        read_audio(tmp_path)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.zeros(0, np.float32), "is empty"),
        (np.ones(1, np.float32), "too short"),
        (np.zeros(20_000, np.float32), "is silent"),
        (np.full(20_000, 0.5, np.float32), "is silent"),
        (np.full(20_000, 1e-6, np.float32) * np.tile([1, -1], 10_000).astype(np.float32), "is silent"),
        (np.concatenate([tone(), [np.nan]]).astype(np.float32), "not finite"),
        (np.concatenate([tone(), [np.inf]]).astype(np.float32), "not finite"),
    ],
    ids=["empty", "one sample", "zeros", "constant", "below 16 bits", "nan", "inf"],
)
def test_a_sound_without_sound_is_refused(tmp_path: Path, samples: np.ndarray, said: str) -> None:
    path = stored(tmp_path / "a.wav", samples)
    with pytest.raises(InputError, match=said):
        read_audio(path)
    if samples.size:
        with pytest.raises(InputError, match=said):
            from_array(torch.from_numpy(samples), SAMPLE_RATE)


def test_silence_before_a_sound_is_no_error_unless_nothing_else_is_read(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.wav", np.concatenate([np.zeros(5 * SAMPLE_RATE), tone()]).astype(np.float32))
    assert read_audio(path).audio.shape[0] == 5 * SAMPLE_RATE + tone().size
    with pytest.raises(InputError, match=r"silent in its first 4\.1 s, all that is read"):
        read_audio(path, max_seconds=MODEL_SECONDS)


def test_a_header_that_claims_gigabytes_costs_nothing(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.wav", tone(), subtype="PCM_16")
    data = bytearray(path.read_bytes())
    position = data.index(b"data") + 4
    data[position : position + 4] = (0xFFFFFF00).to_bytes(4, "little")
    path.write_bytes(data)
    assert abs(read_audio(path).audio.shape[0] - tone().size) <= 1


def test_sixty_four_channels_at_a_high_rate_are_read(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.wav", np.repeat(tone(220, 0.2, 192_000)[:, None], 64, 1), 192_000, "PCM_16")
    assert read_audio(path).audio.shape[0] == pytest.approx(0.2 * SAMPLE_RATE, abs=2)


def test_arrays_must_be_sound_of_a_sane_rate() -> None:
    for shape in ((2, 3, 4000), (4000, 65), (4000, 0), ()):
        with pytest.raises(InputError, match=r"\(T, C\)"):
            from_array(torch.zeros(shape), SAMPLE_RATE)
    for rate in (0, 3_999, 1_000_000):
        with pytest.raises(InputError, match="sample rate"):
            from_array(torch.ones(5000), rate)


def test_channels_in_memory_are_heard_as_those_of_a_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    both = (tone()[:, None] + 0.1 * rng.standard_normal((tone().size, 2))).astype(np.float32)
    soundfile.write(tmp_path / "both.wav", both, SAMPLE_RATE, subtype="FLOAT")
    held, read = from_array(both, SAMPLE_RATE, stereo=True), read_audio(tmp_path / "both.wav", stereo=True)
    assert torch.allclose(held.audio, read.audio, atol=1e-6)
    assert held.channels is not None
    assert read.channels is not None
    assert torch.equal(held.channels, read.channels)
    assert np.array_equal(held.channels.numpy(), both.T)
    assert torch.allclose(held.audio, held.channels.mean(0))
    assert from_array(both, SAMPLE_RATE).channels is None
    assert from_array(both[:, 0], SAMPLE_RATE, stereo=True).channels is None


def test_of_more_channels_the_first_two_are_kept_or_all_are_mixed() -> None:
    surround = np.stack([tone(220), tone(330), tone(550)], axis=1)
    stereo, mono = from_array(surround, SAMPLE_RATE, stereo=True), from_array(surround, SAMPLE_RATE)
    assert stereo.channels is not None
    assert np.array_equal(stereo.channels.numpy(), surround[:, :2].T)
    assert torch.allclose(stereo.audio, torch.from_numpy(surround[:, :2].mean(1)))
    assert torch.allclose(mono.audio, torch.from_numpy(surround.mean(1)), atol=1e-6)


def test_channels_in_memory_that_cancel_are_heard_by_the_loudest() -> None:
    opposite = np.stack([tone(), -0.9 * tone()], axis=1)
    for stereo in (False, True):
        recording = from_array(opposite, SAMPLE_RATE, stereo=stereo)
        assert recording.cancelled
        assert torch.allclose(recording.audio, torch.from_numpy(tone()))
        assert (recording.channels is None) is not stereo


signals = hnp.arrays(np.float32, st.integers(1, 2000), elements=st.floats(-1, 1, width=32))


@settings(max_examples=30)
@given(signals)
def test_float_files_hold_the_very_samples(tmp_path_factory: pytest.TempPathFactory, samples: np.ndarray) -> None:
    path = tmp_path_factory.getbasetemp() / "float.wav"
    write_audio(path, torch.from_numpy(samples), "FLOAT", seed=0)
    assert np.array_equal(soundfile.read(path, dtype="float32")[0], samples)


@settings(max_examples=30)
@given(signals, st.sampled_from([("PCM_24", 24, 0.5), ("PCM_16", 16, 1.5)]))
def test_pcm_files_are_within_their_step(
    tmp_path_factory: pytest.TempPathFactory, samples: np.ndarray, form: tuple[str, int, float]
) -> None:
    subtype, bits, steps = form  # dither adds up to one step to the half of rounding
    path = tmp_path_factory.getbasetemp() / f"{subtype}.wav"
    write_audio(path, torch.from_numpy(samples), subtype, seed=3)
    assert soundfile.info(path).subtype == subtype
    step = 2.0 ** (1 - bits)
    error = np.abs(soundfile.read(path)[0] - np.clip(samples.astype(float), -1, 1 - step))
    assert error.max() <= steps * step + 1e-12


def test_dither_keeps_a_sound_below_the_last_bit_audible_and_is_the_same_twice(tmp_path: Path) -> None:
    quiet = torch.full((100_000,), 0.3 / 2**15)
    for name in ("a.wav", "b.wav"):
        write_audio(tmp_path / name, quiet, "PCM_16", seed=1)
    written = soundfile.read(tmp_path / "a.wav")[0] * 2**15
    assert written.mean() == pytest.approx(0.3, abs=0.02)
    assert written.std() > 0.4
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


@pytest.mark.parametrize("bad", [float("nan"), 1.5])
def test_a_broken_signal_is_never_written(tmp_path: Path, bad: float) -> None:
    with pytest.raises(AssertionError):
        write_audio(tmp_path / "a.wav", torch.tensor([0.0, bad]), "PCM_24", seed=0)
    assert not (tmp_path / "a.wav").exists()
