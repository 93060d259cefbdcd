"""Whatever happens to a call (killed, interrupted, a full disk, another beside it), files are whole, old or new."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import soundfile
from conftest import ROOT, Outcome, Run, few_of, tone
from processes import Order, Processes

from hgs_cli.errors import ExistingFileError, OutputError
from hgs_cli.files.atomic import OutputSet, check_inside, take_back_leftovers
from hgs_cli.spectrum import SAMPLE_RATE

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")

FORMATS = "wav,flac,aiff,sfz,dspreset,sf2"


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A folder with two short sounds, out of the way of results."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, f0_hz in (("a.wav", 220.0), ("b.wav", 330.0)):
        soundfile.write(folder / name, tone(f0_hz, 0.2), SAMPLE_RATE)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """Contents of all files that are no leftovers, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".hgs-") for part in path.relative_to(folder).parts)
    }


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if path.name.startswith(".")]


def assert_quiet(outcome: Outcome) -> None:
    assert "Traceback" not in outcome.err, outcome.err
    assert len(outcome.err.splitlines()) <= 1, outcome.err


COMMANDS = {
    "render": ["render", "in/a.wav", "-p", "48-50", "--format", FORMATS, "--name", "{note}/{stem}", "-o", "out"],
    "invert": ["invert", "in/a.wav", "--audio", "--plot", "-o", "out"],
    "mix": ["mix", "in/a.wav", "in/b.wav", "-p", "57", "--steps", "3", "--format", "wav,sf2", "-o", "out"],
}  # fmt: skip


def kill_at_random(
    processes: Processes, folder: Path, command: list[str], kills: int, number: int = signal.SIGKILL
) -> list[Outcome]:
    """Kill calls that make files, and calls that overwrite them with others; check what is there after each."""
    out, rng = folder / "out", random.Random(20260101)

    def made(*options: str) -> dict[str, bytes]:
        outcome = processes.run(folder, Order([*command, "-q", "--force", *options]))[0]
        assert outcome.code == 0, outcome.err
        return files(out)

    older = made("--lufs", "-30")
    shutil.copytree(out, folder / "older")
    newer = made()
    whole_s = processes.seconds
    outcomes = []
    for number_of_kill in range(kills):
        overwrite = number_of_kill % 2 == 0
        options = ["--force"] if overwrite else []
        shutil.rmtree(out)
        if overwrite:
            shutil.copytree(folder / "older", out)
        outcomes += processes.run(folder, Order([*command, "-q", *options], rng.uniform(0.1, 1.0) * whole_s, number))
        left = files(out) if out.exists() else {}
        assert all(content in (older[name], newer[name]) for name, content in left.items()), number_of_kill
        assert left.keys() == older.keys() or not overwrite
        again = processes.run(folder, Order([*command, "-q", *options]))[0]
        assert again.code == (5 if left == newer and not overwrite else 0), again.err
        assert files(out) == newer
        assert leftovers(out) == []
    return outcomes


@pytest.mark.parametrize("kills", few_of([2, 8], 2))  # hundreds with -m slow
@pytest.mark.parametrize("command", few_of(COMMANDS, "render"))
def test_a_killed_call_leaves_whole_files_old_or_new_and_the_next_one_succeeds(
    processes: Processes, sounds: Path, tmp_path: Path, command: str, kills: int
) -> None:
    outcomes = kill_at_random(processes, tmp_path, COMMANDS[command], kills)
    assert sum(outcome.code == -signal.SIGKILL for outcome in outcomes) >= kills // 2


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_many_killed_calls(processes: Processes, sounds: Path, tmp_path: Path, command: str) -> None:
    kill_at_random(processes, tmp_path, COMMANDS[command], 200)


@pytest.mark.parametrize("times", few_of([2, 8], 2))
@pytest.mark.parametrize(
    ("number", "code"),
    few_of(
        [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], (signal.SIGINT, 130), (signal.SIGTERM, 143)
    ),
)
def test_a_call_that_is_asked_to_end_cleans_up_and_says_nothing(
    processes: Processes, sounds: Path, tmp_path: Path, number: int, code: int, times: int
) -> None:
    assert ask_to_end(processes, tmp_path, times, number, code)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_hundreds_of_calls_that_are_asked_to_end(
    processes: Processes, sounds: Path, tmp_path: Path, number: int, code: int
) -> None:
    ask_to_end(processes, tmp_path, 150, number, code)


def ask_to_end(processes: Processes, tmp_path: Path, times: int, number: int, code: int) -> int:
    """Ask calls to end at random moments, and check what they leave and say; how many had not ended by themselves."""
    rng = random.Random(number)
    command = ["render", "in/a.wav", "-p", "48-53", "--format", "wav,sf2", "-o", "out", "-q"]
    assert processes.run(tmp_path, Order(command))[0].code == 0
    whole_s = processes.seconds
    ended = 0
    for index in range(times):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        moment = 0.05 + 0.95 * (index + rng.random()) / times  # of few, too, one is early
        outcome = processes.run(tmp_path, Order(command, moment * whole_s, number))[0]
        assert outcome.err == ""
        assert outcome.code in (0, code)
        ended += outcome.code == code
        if outcome.code == code and (tmp_path / "out").exists():
            assert len(files(tmp_path / "out")) == 7  # all had been moved already
        assert leftovers(tmp_path) == []
    return ended


@pytest.mark.parametrize(
    "swallowed", ["raise ValueError('a storage of no known shape')", pytest.param("pass", marks=pytest.mark.thorough)]
)
def test_an_interrupt_that_a_library_takes_for_something_else_still_ends_the_call(
    processes: Processes, sounds: Path, swallowed: str
) -> None:
    first = (
        "def interrupted(*arguments, draw=hgs_cli.export.delivery.make_notes, **named):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    except BaseException:\n"
        f"        {swallowed}\n"
        "    return draw(*arguments, **named)\n"
        "hgs_cli.export.delivery.make_notes = interrupted\n"
    )
    done = processes.run(sounds, Order(["render", "a.wav", "b.wav", "-p", "60", "-q"], first=first))[0]
    assert (done.code, done.out, done.err) == (130, "", "")
    assert sorted(path.name for path in sounds.iterdir()) == ["a.wav", "b.wav"]


INTERRUPTED = """
import _thread, os, signal, sys, time
import hgs_cli.__main__

def interrupt(moment_s):
    time.sleep(moment_s)
    os.kill(os.getpid(), signal.SIGINT)

_thread.start_new_thread(interrupt, (float(sys.argv.pop()),))
hgs_cli.__main__.main()
"""
"""Comes after Python's own start, which is not hgs's to guard, nor is that of a thread: a Timer would wait for it."""


def interrupted_at(moment_s: float, folder: Path) -> subprocess.Popen[str]:
    """A call that takes minutes, and is interrupted after so many seconds."""
    return subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, "render", "a.wav", "-p", "0-127:0.1", "-q", str(moment_s)],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("moment_s", few_of([0.05, 0.3, 0.8], 0.05, 0.3))
def test_an_interrupt_while_the_program_is_read_says_nothing(sounds: Path, moment_s: float) -> None:
    """From the shell, where half a second goes by before there is any command to interrupt."""
    process = interrupted_at(moment_s, sounds)
    assert (*process.communicate(), process.returncode) == ("", "", 130)
    assert sorted(path.name for path in sounds.iterdir()) == ["a.wav", "b.wav"]


@pytest.mark.parametrize(
    "times", [pytest.param(100, marks=pytest.mark.thorough), pytest.param(400, marks=pytest.mark.slow)]
)
def test_hundreds_of_interrupts_from_the_first_import_on_say_nothing_and_leave_nothing(
    sounds: Path, times: int
) -> None:
    """Two at a time, each in a folder of its own, at moments from the first import to the last note of many."""
    rng = random.Random(times)
    moments_s = [rng.uniform(0.02, 0.5) if index % 2 else rng.uniform(0.5, 3.0) for index in range(times)]
    for first in range(0, times, 2):
        folders = [sounds / "one", sounds / "two"]
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            shutil.copy(sounds / "a.wav", folder)
        pair = [interrupted_at(moment_s, folder) for moment_s, folder in zip(moments_s[first:], folders, strict=False)]
        for process, folder in zip(pair, folders, strict=True):
            assert (*process.communicate(), process.returncode) == ("", "", 130)
            assert [path.name for path in folder.rglob("*")] == ["a.wav"]


# --- every step of a move, killed or failing --------------------------------------------------------------------------

STEPS = ("mkdir", "chmod", "fsync", "link", "replace", "rename", "unlink", "rmdir")

KILLED_AT_EVERY_STEP = """
import os, signal, sys
from pathlib import Path
from hgs_cli.files.atomic import OutputSet, take_back_leftovers
force, linkless, root = sys.argv[1] == "force", sys.argv[2] == "linkless", Path(sys.argv[3])
names = ["one.wav", "sub/two.wav", "three.sfz", "sub/four"]

def produce(folder, text, force):
    with OutputSet([folder / name for name in names], force, folder) as outputs:
        for name in names:
            outputs.write(folder / name, lambda aside: aside.write_text(text + name))

def contents(folder):
    return {name: (folder / name).read_text() for name in names if os.path.lexists(folder / name)}

def whole(text):
    return {name: text + name for name in names}

def no_links(*given, **named):
    raise PermissionError(1, "no hard links here")

os.fsync = lambda handle: None  # a disk takes its time
if linkless:
    os.link = no_links
for step in range(10_000):
    folder = root / str(step)
    folder.mkdir()
    if force:
        produce(folder, "old ", False)
    pid = os.fork()
    if pid == 0:
        counted = 0
        def counting(real):
            def call(*given, **named):
                global counted
                if counted == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                counted += 1
                return real(*given, **named)
            return call
        for name in sys.argv[4].split(","):
            setattr(os, name, counting(getattr(os, name)))
        produce(folder, "new ", force)
        os._exit(0)
    killed = os.waitpid(pid, 0)[1] != 0
    found = contents(folder)
    old = whole("old ") if force else {}
    for name, text in found.items():
        assert text in (f"old {name}", f"new {name}"), (step, found)
    if force:
        assert len(found) == len(names), (step, found)
    take_back_leftovers([[folder / name for name in names]])
    found = contents(folder)
    if linkless and force:
        assert len(found) == len(names), (step, found)
    else:
        assert found in (old, whole("new ")), (step, found)
    assert not list(folder.rglob(".hgs-*")), step
    produce(folder, "new ", force or bool(found))
    assert contents(folder) == whole("new ")
    if not killed:
        print(step)
        break
"""


@pytest.mark.parametrize(
    ("disk", "files_there"), few_of(itertools.product(["links", "linkless"], ["new", "force"]), ("links", "force"))
)
def test_killed_at_any_step_a_result_is_put_back_as_a_whole(tmp_path: Path, files_there: str, disk: str) -> None:
    """Be there older files or none; on disks that give files only one name, old files may be gone."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_EVERY_STEP, files_there, disk, str(tmp_path), ",".join(STEPS)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 12  # steps at which it was killed


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, force: bool
) -> None:
    names = ["one.wav", "two.wav", "three.wav"]
    failed = 0
    for at in range(40):
        folder = tmp_path / str(at)
        folder.mkdir()
        if force:
            for name in names:
                (folder / name).write_text(f"old {name}")
        real, counted = getattr(os, step), [0]

        def failing(*given: object, real: Callable[..., object] = real, counted: list[int] = counted, at: int = at,
                    **named: object) -> object:  # fmt: skip
            counted[0] += 1
            if counted[0] == at + 1:
                raise OSError(28, "No space left on device")
            return real(*given, **named)

        with monkeypatch.context() as patched:
            patched.setattr(os, step, failing)
            try:
                with OutputSet([folder / name for name in names], force) as outputs:
                    for name in names:
                        outputs.write(folder / name, lambda aside, name=name: aside.write_text(f"new {name}"))  # type: ignore[misc]
                came = "new"
            except OutputError as error:
                came, failed = "old", failed + ("no space left" in str(error))
        if counted[0] <= at:
            break
        found = {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}
        assert found == ({name: f"{came} {name}" for name in names} if force or came == "new" else {}), (step, at)
    assert failed or step in ("unlink", "rmdir", "replace", "link")  # those are for what is left, or done otherwise


def test_an_interrupt_between_two_moves_puts_back_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text("old")
    replace, taken = os.replace, [0]

    def interrupted(*given: Path) -> None:
        taken[0] += 1
        if taken[0] == 2:
            raise KeyboardInterrupt
        replace(*given)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), OutputSet([tmp_path / "one", tmp_path / "two"], force=True) as outputs:
        for name in ("one", "two"):
            outputs.write(tmp_path / name, lambda aside: aside.write_text("new"))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"one": "old", "two": "old"}


def test_what_a_living_process_is_making_is_never_taken_for_a_leftover(tmp_path: Path) -> None:
    target = tmp_path / "one.wav"
    with OutputSet([target], force=False) as outputs:
        outputs.write(target, lambda aside: aside.write_text("mine"))
        take_back_leftovers([[tmp_path / "two.wav"]])
        code = (
            "from pathlib import Path; from hgs_cli.files.atomic import take_back_leftovers; "
            f"take_back_leftovers([[Path({str(target)!r})]])"
        )
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    assert target.read_text() == "mine"


def test_what_another_machine_left_is_taken_back_after_a_day(tmp_path: Path) -> None:
    old, fresh = tmp_path / f".hgs-{'f' * 8}-{'0' * 16}", tmp_path / f".hgs-{'f' * 8}-{'1' * 16}"
    for stage in (old, fresh):
        stage.mkdir()
        (stage / "0.wav").write_text("half")
    os.utime(old, (0, 0))
    (tmp_path / ".hgs-notes").mkdir()  # not ours
    take_back_leftovers([[tmp_path / "one.wav"]])
    assert sorted(path.name for path in tmp_path.iterdir()) == [fresh.name, ".hgs-notes"]


# --- disks ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """A small disk of its own; skips where none may be mounted."""
    folder.mkdir()
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


needs_mount = pytest.mark.skipif(shutil.which("mount") is None or os.geteuid() != 0, reason="only root mounts disks")


@needs_mount
@pytest.mark.parametrize("command", few_of(COMMANDS, "render"))
def test_a_full_disk_is_one_line_and_leaves_older_files_as_they_were(
    processes: Processes, sounds: Path, tmp_path: Path, command: str
) -> None:
    short = COMMANDS[command][:-2]
    assert processes.run(tmp_path, Order([*short, "-o", "free", "-q"]))[0].code == 0
    needed = sum(len(content) for content in files(tmp_path / "free").values())
    for share in (0.2, 0.8):
        size = f"size={max(4, round(share * needed / 4096)) * 4096}"
        with mounted(tmp_path / f"{share}", "-t", "tmpfs", "-o", size, "tmpfs") as disk:
            out = disk / "out"
            out.mkdir()
            target = out / ("a.hgs" if command == "invert" else "mine.txt")
            target.write_text("older")
            outcome = processes.run(tmp_path, Order([*short, "-o", str(out), "-q", "--force"]))[0]
            assert outcome.code == 5, outcome.err
            assert all(line.startswith("hgs: error: cannot write ") for line in outcome.err.splitlines()), outcome.err
            assert_quiet(outcome)
            assert files(out) == {target.name: b"older"}
            assert leftovers(disk) == []


@pytest.mark.parametrize("command", few_of(COMMANDS, "invert"))
def test_a_file_that_may_not_grow_is_one_line_and_leaves_older_files_as_they_were(
    processes: Processes, sounds: Path, tmp_path: Path, command: str
) -> None:
    short = COMMANDS[command][:-2]
    (tmp_path / "out").mkdir()
    older = {f"{name}.hgs": b"older" for name in "ab"} | {"a+b.html": b"older", "a.sf2": b"older"}
    for name, content in older.items():
        (tmp_path / "out" / name).write_bytes(content)
    for largest in (2_000, 12_000):
        outcome = processes.run(tmp_path, Order([*short, "-o", "out", "-q", "--force"], largest=largest))[0]
        assert outcome.code == 5, outcome.err
        assert all(line.startswith("hgs: error: cannot write ") for line in outcome.err.splitlines()), outcome.err
        assert files(tmp_path / "out") == older
        assert leftovers(tmp_path) == []


def test_without_room_for_what_is_only_needed_meanwhile_it_is_one_line_too(
    processes: Processes, sounds: Path, tmp_path: Path
) -> None:
    """A SoundFont is made of notes that no one asked to see."""
    command = ["render", "in/a.wav", "-p", "48-50", "--format", "sf2", "-o", "out", "-q"]
    outcome = processes.run(tmp_path, Order(command, largest=2_000))[0]
    assert outcome.code == 5, outcome.err
    assert_quiet(outcome)


@needs_mount
def test_a_read_only_disk_is_one_line(processes: Processes, sounds: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "ro", "tmpfs"):
        for out in ("disk", "disk/new"):
            outcome = processes.run(tmp_path, Order(["render", "in/a.wav", "-p", "60", "-o", out, "-q"]))[0]
            assert outcome.code == 5
            assert outcome.err.startswith(f"hgs: error: cannot write to folder {out}: read-only file system")
            assert_quiet(outcome)


@pytest.mark.parametrize("existing", [False, True])
def test_a_folder_that_belongs_to_someone_else_is_one_line(
    processes: Processes, sounds: Path, bundle: Path, existing: bool
) -> None:
    user = 65_534 if os.geteuid() == 0 else None  # nobody; to root no folder is closed
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # the tests' own folders are closed to others
        shutil.copytree(sounds, folder / "in")
        shutil.copy(bundle, folder / "tiny.safetensors")
        (folder / "tiny.safetensors").chmod(0o644)
        out = folder / "out"
        out.mkdir()
        if existing:
            (out / "a_060_C4.wav").write_text("older")
        out.chmod(0o555)
        command = ["render", "in/a.wav", "-p", "60", "-o", "out", "-q", "--force", "--weights", "tiny.safetensors"]
        outcome = processes.run(folder, Order(command, user=user))[0]
        assert outcome.code == 5, outcome.err
        assert outcome.err.startswith("hgs: error: cannot write to folder out: permission denied")
        assert_quiet(outcome)
        assert files(out) == ({"a_060_C4.wav": b"older"} if existing else {})
        out.chmod(0o755)


# --- several at once --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("options", few_of([[], ["--force"], ["--skip-existing"]], ["--skip-existing"]), ids=str)
def test_several_processes_make_the_same_files_at_once(
    processes: Processes, sounds: Path, tmp_path: Path, count: int, options: list[str]
) -> None:
    command = ["render", "in", "-p", "48-49", "--format", "wav,sfz", "-q"]
    alone = processes.run(tmp_path, Order([*command, "-o", "alone"]))[0]
    outcomes = processes.run(tmp_path, *[Order([*command, "-o", "out", *options])] * count)
    assert files(tmp_path / "out") == files(tmp_path / "alone")
    assert leftovers(tmp_path) == []
    assert len(alone.lines) == 6
    codes = [outcome.code for outcome in outcomes]
    if options:
        assert codes == [0] * count, [outcome.err for outcome in outcomes]
        assert all(outcome.err == "" for outcome in outcomes)
    else:
        assert set(codes) <= {0, 5}
    written = sorted(Path(line).name for outcome in outcomes for line in outcome.lines)
    if options != ["--force"]:  # whoever prints a path has written it: no file is made by two
        assert written == sorted(Path(line).name for line in alone.lines)


@pytest.mark.parametrize("times", few_of([1, 6], 1))
def test_of_two_that_overwrite_each_other_one_wins_with_all_its_files(
    processes: Processes, sounds: Path, tmp_path: Path, times: int
) -> None:
    command = ["render", "in/a.wav", "-p", "48-50", "-q", "--force", "-o"]
    made = []
    for lufs in ("-20", "-30"):
        processes.run(tmp_path, Order([*command, f"alone{lufs}", "--lufs", lufs]))
        made.append(files(tmp_path / f"alone{lufs}"))
    for _ in range(times):
        outcomes = processes.run(tmp_path, *(Order([*command, "out", "--lufs", lufs]) for lufs in ("-20", "-30")))
        assert [outcome.code for outcome in outcomes] == [0, 0]
        assert files(tmp_path / "out") in made


def test_several_processes_share_a_folder_for_different_files(
    processes: Processes, sounds: Path, tmp_path: Path
) -> None:
    orders = [Order(["render", f"in/{name}.wav", "-p", spec, "-o", "out", "-q"])
              for name in "ab" for spec in ("48-49", "54-56")]  # fmt: skip
    outcomes = processes.run(tmp_path, *orders)
    assert [outcome.code for outcome in outcomes] == [0] * 4
    assert len(files(tmp_path / "out")) == 10
    assert leftovers(tmp_path) == []


# --- nothing leaves the output folder ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "template",
    ["../{midi}", "/tmp/{midi}", "a/../../{midi}", "..", "./{midi}", "a//{midi}", "{stem}/../../{midi}", "{midi}/"],
)
def test_no_template_leads_out_of_the_folder(hgs: Run, sounds: Path, tmp_path: Path, template: str) -> None:
    outcome = hgs("render", "in/a.wav", "-p", "60", "-o", "out", "--name", template)
    assert outcome.code == 2
    assert_quiet(outcome)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


@pytest.mark.parametrize(
    "name",
    [
        "..wav",
        *(pytest.param(name, marks=pytest.mark.thorough) for name in ("...wav", "..a.wav", "a\\..\\b.wav", "~.wav")),
    ],
)
def test_no_name_of_a_sound_leads_out_of_the_folder(
    hgs: Run, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    work = tmp_path / "work" / "deep"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    (work / name).write_bytes((sounds / "a.wav").read_bytes())
    for command in (
        ["render", f"./{name}", "-p", "60", "--format", "wav,dspreset,sf2", "--audition"],
        ["render", f"./{name}", "-p", "60", "--name", "{stem}/{midi}", "-o", "out"],
        ["render", f"./{name}", "../../in/a.wav", "-p", "60", "-o", "several"],
        ["invert", f"./{name}", "--audio"],
        ["mix", f"./{name}", f"./{name}", "-p", "60"],
    ):
        outcome = hgs(*command, "-q")
        assert outcome.code == 0, outcome.err
        assert all(Path(line).parts[0] != ".." for line in outcome.lines)
        assert [path.name for path in (tmp_path / "work").iterdir()] == ["deep"]


def test_no_link_leads_out_of_the_folder(hgs: Run, sounds: Path, tmp_path: Path) -> None:
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    elsewhere.mkdir()
    out.mkdir()
    (out / "C4").symlink_to(elsewhere)
    (out / "a").symlink_to(elsewhere)
    for command in (
        ["render", "in/a.wav", "-p", "60,61", "--name", "{note}/{stem}", "-o", "out"],
        ["render", "in", "-p", "60", "-o", "out"],
    ):
        for force in ([], ["--force"]):
            outcome = hgs(*command, *force)
            assert outcome.code == 5, outcome.err
            assert "leads out of out" in outcome.err
            assert_quiet(outcome)
    assert list(elsewhere.iterdir()) == []
    (tmp_path / "in" / "deep").mkdir()
    shutil.copy(tmp_path / "in" / "a.wav", tmp_path / "in" / "deep" / "a.wav")
    (out / "deep").symlink_to(elsewhere)
    assert hgs("invert", "in", "-r", "-o", "out").code == 5
    assert list(elsewhere.iterdir()) == []


def test_a_link_is_replaced_and_what_it_points_to_is_left(hgs: Run, sounds: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.wav"
    outside.write_text("mine")
    for points_to in (outside, tmp_path / "nowhere.wav"):
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        (out / "a_060_C4.wav").symlink_to(points_to)
        command = ["render", "in/a.wav", "-p", "60", "-o", "out", "-q"]
        assert hgs(*command).code == 5
        assert hgs(*command, "--force").code == 0
        assert not (out / "a_060_C4.wav").is_symlink()
        assert soundfile.info(out / "a_060_C4.wav").frames > 0
    assert outside.read_text() == "mine"
    assert not (tmp_path / "nowhere.wav").exists()


def test_the_output_folder_itself_may_be_a_link(hgs: Run, sounds: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    for name in ("out", "a"):
        (tmp_path / name).symlink_to(real)
    for options in (["-o", "out"], ["--force"]):
        assert hgs("render", "in/a.wav", "-p", "60", *options).code == 0
    assert list(files(real)) == ["a_060_C4.wav"]


def test_what_samplers_read_names_files_beside_it(hgs: Run, sounds: Path, tmp_path: Path) -> None:
    command = ["render", "in/a.wav", "-p", "60,64", "--format", "sfz,dspreset", "--name", "{note}/{stem}", "-o", "out"]
    assert hgs(*command).code == 0
    text = (tmp_path / "out" / "a.sfz").read_text() + (tmp_path / "out" / "a.dspreset").read_text()
    assert "sample=C4/a.wav" in text
    assert 'path="C4/a.wav"' in text
    assert ".." not in text
    assert str(tmp_path) not in text


def test_a_file_that_appears_meanwhile_takes_the_others_back(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    with pytest.raises(ExistingFileError, match="two has appeared"), OutputSet([one, two], force=False) as outputs:
        for target in (one, two):
            outputs.write(target, lambda aside: aside.write_text("ours"))
        two.write_text("theirs")
    assert [path.name for path in tmp_path.iterdir()] == ["two"]


def test_links_inside_the_folder_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    check_inside(tmp_path, [tmp_path / "link" / "one.wav"])
    with pytest.raises(OutputError, match="leads out"):
        check_inside(tmp_path / "real", [tmp_path / "real" / ".." / "one.wav"])
