"""Sounds and lists of paths come in through pipes, one sound goes out, and nothing of it steers a terminal."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT, Run, few_of, tone
from processes import Order, Processes
from typer.testing import CliRunner, Result

from hgs_cli.cli.app import app
from hgs_cli.console import LEFT, Messages, print_table, say
from hgs_cli.errors import InputError, UsageError
from hgs_cli.export import piped
from hgs_cli.export.piped import keep_substituted, read_stdin
from hgs_cli.export.sources import find_sources
from hgs_cli.files.kinds import SOUND_SUFFIXES, is_foreign, is_plain

Call = Callable[..., Result]


@pytest.fixture
def call(hgs: Run) -> Call:
    """Run hgs in this process on bytes, for bytes."""

    def run(*words: str | Path, given: bytes = b"") -> Result:
        result = CliRunner().invoke(app, [str(word) for word in words], given, prog_name="hgs")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


# --- in -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", few_of([".wav", ".flac", ".aiff", ".ogg", ".mp3"], ".wav", ".mp3"))
def test_a_sound_on_stdin_is_the_sound(call: Call, sound: Path, suffix: str) -> None:
    path = sound.with_suffix(suffix)
    if suffix != ".wav":
        soundfile.write(path, soundfile.read(sound)[0], 44_100)
    piped_in = call("render", "-", "-p", "60", "-o", "piped", given=path.read_bytes())
    assert (piped_in.exit_code, piped_in.stdout) == (0, "piped/stdin_060_C4.wav\n")
    assert call("render", path, "-p", "60", "-o", "file").exit_code == 0
    assert Path("piped/stdin_060_C4.wav").read_bytes() == Path("file/tone_060_C4.wav").read_bytes()


def test_a_sound_on_stdin_has_files_called_so(call: Call, sound: Path) -> None:
    data = sound.read_bytes()
    assert call("render", "-", "-p", "60", "--dry-run", given=data).stdout == "stdin/stdin_060_C4.wav\n"
    assert call("invert", "-", "--plot", given=data).stdout == "stdin.hgs\nstdin.png\n"
    assert call("mix", sound, "-", "-p", "60", "--audition", given=data).stdout.splitlines() == [
        "tone+stdin/tone+stdin_050_060_C4.wav",
        "tone+stdin/tone+stdin.html",
    ]


def test_what_is_neither_sound_nor_paths_is_one_line(call: Call) -> None:
    noise = np.random.default_rng(1).bytes(9000)
    outcome = call("render", "-", "-p", "60", given=noise)
    assert (outcome.exit_code, outcome.stdout, outcome.stderr.count("\n")) == (3, "", 1)
    assert "cannot be read as sound" in outcome.stderr
    nothing = call("render", "-", "-p", "60")
    assert (nothing.exit_code, nothing.stderr.count("\n")) == (2, 1)
    assert "a sound or paths on stdin" in nothing.stderr


@pytest.mark.parametrize(
    "listed",
    [b"a.wav\nb c.wav\n", b"a.wav\r\nb c.wav\r\n", b"a.wav\0b c.wav\0", b"\xef\xbb\xbfa.wav\nb c.wav",
     b"\n\na.wav\n\nb c.wav", b"a.wav\r\n\r\nb c.wav"],
)  # fmt: skip
def test_lists_of_paths_end_lines_as_they_like(listed: bytes) -> None:
    assert read_stdin(io.BytesIO(listed)) == [Path("a.wav"), Path("b c.wav")]


def test_paths_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    odd = [b"a\r", b"b\n.wav", b"RIFF.wav", b"\x1b[2J.wav", b"caf\xe9.wav", b"OggS"]
    for name in odd:
        Path(os.fsdecode(name)).touch()
    paths = [Path(os.fsdecode(name)) for name in odd]
    assert read_stdin(io.BytesIO(b"\0".join(odd))) == paths
    lines = [name for name in odd if b"\n" not in name]
    assert read_stdin(io.BytesIO(b"\n".join(lines))) == [path for path in paths if "\n" not in str(path)]
    assert read_stdin(io.BytesIO(b"\x1b[2J.wav\n")) == [Path("\x1b[2J.wav")]  # were there no such file: a sound


def test_a_pipe_has_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piped, "PIPED", piped.PipedRules(max_bytes=10_000, max_list_bytes=10_000))
    with pytest.raises(InputError, match="stdin holds over"):
        read_stdin(io.BytesIO(b"fLaC" + bytes(20_000)))
    with pytest.raises(UsageError, match="neither a sound nor paths"):
        read_stdin(io.BytesIO(b"y\n" * 20_000))


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="descriptors have no paths here")
def test_a_substituted_process_is_read_as_often_as_needed(sound: Path, tmp_path: Path) -> None:
    ends = [os.pipe() for _ in range(2)]
    for _, end in ends:
        os.write(end, sound.read_bytes()[:4000])
        os.close(end)
    paths = [Path(f"/dev/fd/{end}") for end, _ in ends]
    try:
        sources, alone = find_sources(paths, False, io.BytesIO(), SOUND_SUFFIXES)
        assert ([source.path for source in sources], alone) == (paths, False)
        assert [source.name for source in sources] == ["pipe", "pipe-2"]
        for _ in range(2):
            assert [path.read_bytes() for path in paths] == [sound.read_bytes()[:4000]] * 2
    finally:
        for end, _ in ends:
            os.close(end)
    os.mkfifo(tmp_path / "named")  # nobody may ever write to it
    assert keep_substituted(tmp_path / "named") == tmp_path / "named"


def test_kinds_are_told_by_first_bytes(tmp_path: Path) -> None:
    for kind in ("WAV", "AIFF", "FLAC", "OGG", "MP3", "CAF", "AU", "W64", "RF64"):
        soundfile.write(tmp_path / "a", tone(), 44_100, format=kind)
        head = (tmp_path / "a").read_bytes()[:4096]
        assert (is_plain(head), is_foreign(head)) == (True, False), kind
    for head in (b"\0\0\0\x1cftypM4A ", b"\x1a\x45\xdf\xa3", b"\xff\xf1\x50\x80", b"RIFF....AVI LIST", b"#!AMR\n"):
        assert (is_plain(head), is_foreign(head)) == (False, True), head
    for head in (b"", b"RIFF", b"kick.wav\n", b"ID3", b"\xff\xff\xff\xff"[:2]):
        assert not is_foreign(head)


# --- out ------------------------------------------------------------------------------------------------------------


def test_one_note_goes_to_stdout_as_the_very_file(call: Call, sound: Path, burst: Path) -> None:
    call("render", sound, "-p", "60", "-o", "file")
    for command in (["render", sound], ["render", "tone.hgs"], ["render", "-"]):
        if command[1] == "tone.hgs":
            call("invert", sound)
        given = sound.read_bytes() if command[1] == "-" else b""
        outcome = call(*command, "-p", "60", "-o", "-", given=given)
        assert outcome.exit_code == 0
        assert outcome.stdout_bytes == Path("file/tone_060_C4.wav").read_bytes()
        assert "heard as" in outcome.stderr or command[1] == "tone.hgs"
    mixed = call("mix", sound, burst, "-p", "60", "-o", "-", "--format", "flac")
    assert soundfile.info(io.BytesIO(mixed.stdout_bytes)).format == "FLAC"
    assert not Path("-").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-p", "60-62"], "these would be 3 — give one sound and one note"),
        (["-p", "60", "--audition"], "these would be 2"),
        (["-p", "60", "--format", "wav,sfz"], "these would be 2"),
        (["tone.wav", "burst.wav", "-p", "60"], "these would be 2"),
        (["-p", "60", "--json"], "--json makes no sense with -o -"),
        (["-p", "60", "--dry-run"], "--dry-run makes no sense with -o -"),
        (["-p", "60", "--skip-existing"], "--skip-existing makes no sense"),
    ],
)
def test_more_than_one_sound_does_not_fit_stdout(
    call: Call, sound: Path, burst: Path, words: list[str], said: str
) -> None:
    outcome = call("render", *(words if "tone.wav" in words else ["tone.wav", *words]), "-o", "-")
    assert (outcome.exit_code, outcome.stdout_bytes, outcome.stderr.count("\n")) == (2, b"", 1)
    assert said in outcome.stderr
    assert call("invert", "tone.wav", "-o", "-").exit_code == 2
    assert sorted(path.name for path in Path().iterdir()) == ["burst.wav", "tone.wav"]


def test_a_terminal_is_sent_no_sound(hgs: Run, sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    from hgs_cli.cli.planned import check_stdout
    from hgs_cli.options import ScriptOptions

    monkeypatch.setattr(sys, "stdout", Screen())
    with pytest.raises(UsageError, match="which is a terminal — send it on with"):
        check_stdout(1, ScriptOptions())


@pytest.mark.parametrize("words", [["-o", "-"], ["-o", "out"]])
def test_who_reads_may_leave_at_any_time(processes: Processes, sound: Path, tmp_path: Path, words: list[str]) -> None:
    os.mkfifo(tmp_path / "left")
    reader = threading.Thread(target=lambda: (tmp_path / "left").open("rb").close())
    reader.start()
    done = processes.run(tmp_path, Order(["render", "tone.wav", "-p", "60", *words, "-q"], printed="left"))[0]
    reader.join()
    assert (done.code, done.err) == (LEFT, "")


@pytest.mark.thorough
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_pipes_of_a_shell_lead_in_and_out_and_may_close(bundle: Path, sound: Path, burst: Path, tmp_path: Path) -> None:
    """Several calls at once, as a user types them: their start is most of the time."""
    (tmp_path / "hgs").write_text(f'#!/bin/sh\nexec {sys.executable} -m hgs_cli "$@"\n')
    (tmp_path / "hgs").chmod(0o755)
    script = """
        cat tone.wav | hgs render - -p 60 -o - > piped.wav & one=$!
        hgs mix <(cat tone.wav) <(cat burst.wav) -p 60 -o mixed --audition -q > mixed.txt & two=$!
        { hgs render tone.wav -p 48-72 -o many -q; echo $? > code; } | head -n 1 > first.txt
        hgs manual options 2> left.txt | true; echo ${PIPESTATUS[0]} >> code
        wait $one && wait $two
    """
    environment = {**os.environ, "HGS_WEIGHTS": str(bundle), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
                   "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}  # fmt: skip
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.decode() == "stdin: heard as A3, dying away\n"
    assert soundfile.info(tmp_path / "piped.wav").frames == tone().size
    assert (tmp_path / "mixed.txt").read_text().splitlines() == [
        "mixed/pipe+pipe_050_060_C4.wav",
        "mixed/pipe+pipe.html",
    ]
    assert (tmp_path / "first.txt").read_text() == "many/tone_048_C3.wav\n"
    assert (tmp_path / "left.txt").read_text() == ""
    assert set((tmp_path / "code").read_text().split()) <= {str(LEFT), "0"}  # 0 if it had been faster than its reader


# --- names ----------------------------------------------------------------------------------------------------------

STEERING = "\x1b[2J\x07a[red]\u202eb\r\nc\x9b\udc9b.wav"


class Terminal(io.StringIO):
    """Something that says that it is one."""

    def isatty(self) -> bool:
        """It is."""
        return True


@pytest.mark.parametrize("is_terminal", [True, False])
def test_no_name_steers_a_terminal(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> None:
    out, err = (Terminal() if is_terminal else io.StringIO() for _ in range(2))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    say(STEERING)
    print_table(STEERING, [("path", STEERING)], to_stdout=True)
    messages = Messages()
    messages.line(STEERING)
    messages.warn(STEERING)
    messages.table(STEERING, [(STEERING, "")])
    with messages.batch([STEERING, STEERING], 1) as batch:
        with batch.file(0) as advance:
            advance(1)
        batch.done(0, STEERING)
    told = out.getvalue() if is_terminal else out.getvalue().split("\n", 2)[2]  # a pipe gets the very path
    for text in (told, err.getvalue()):
        for code in ("\x1b[2J", "\x07", "\u202e", "\x9b", "\udc9b"):
            assert code not in text
        assert "a[red] b" in text  # and no markup either
    if not is_terminal:
        assert out.getvalue().startswith(f"{STEERING}\n")


def test_info_of_a_name_with_codes_is_lines_without_them(call: Call, sound: Path) -> None:
    call("invert", sound, "-o", "\x1b[2Jx.hgs")
    told = call("info", "\x1b[2Jx.hgs")
    assert told.stdout.splitlines()[0] == "#  [2Jx.hgs"
    assert "\x1b" not in told.stdout
