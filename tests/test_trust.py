"""Nothing is believed: no pickle, no code in files, released weights as they were released, no network."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import soundfile
from conftest import RELEASED, ROOT, Outcome, few_of, tone
from processes import Order, Processes

from hgs_cli.models.weights import CHECKSUMS_NAME

RUNS_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle", "yaml"}
TALKS = {"socket", "ssl", "http", "urllib", "urllib3", "requests", "httpx", "aiohttp", "ftplib", "smtplib", "xmlrpc",
         "websockets", "asyncio", "huggingface_hub", "socketserver", "telnetlib", "webbrowser"}  # fmt: skip
# Bytes of this program's own, to processes that it started itself, when measuring.
OWN_PROCESSES = {("evaluation/workers.py", "pickle")}
FETCHES = {("training/recorded.py", "urllib")}  # hgs train recordings, and no other command
LOADERS = {("training/checkpoint.py", "torch.load")}  # with weights_only=True


@functools.cache
def sources() -> dict[str, ast.Module]:
    """Every module, read once."""
    paths = sorted((ROOT / "hgs_cli").rglob("*.py"))
    return {path.relative_to(ROOT / "hgs_cli").as_posix(): ast.parse(path.read_text()) for path in paths}


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_no_file_can_bring_code_and_only_what_fetches_recordings_talks_to_a_network() -> None:
    found = {
        (name, module) for name, tree in sources().items() for module in imported(tree) if module in RUNS_CODE | TALKS
    }
    assert found == OWN_PROCESSES | FETCHES
    users = {name for name in sources() if "training import recorded" in (ROOT / "hgs_cli" / name).read_text()}
    assert users == {"cli/train.py"}


def test_torchs_own_loader_is_out_of_reach_of_the_main_path() -> None:
    calls: set[tuple[str, str]] = set()
    for name, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in (
                    "torch.load",
                    "torch.jit.load",
                    "torch.hub.load",
                    "eval",
                    "exec",
                    "compile",
                    "__import__",
                ):
                    calls.add((name, called))
                    assert "weights_only=True" in ast.unparse(node), name
                assert not any(word.arg == "allow_pickle" for word in node.keywords), name
    assert calls == LOADERS


@pytest.mark.weights
def test_the_released_weights_are_those_of_their_checksums() -> None:
    lines = (RELEASED.parent / CHECKSUMS_NAME).read_text().splitlines()
    checksums = {name: value for value, name in (line.split() for line in lines)}
    assert checksums[RELEASED.name] == hashlib.sha256(RELEASED.read_bytes()).hexdigest()


# Every attempt to open a connection, look up a name, start a program or unpickle a class ends the process.
GUARD = """
import sys

FORBIDDEN = ("socket.", "urllib.", "http.", "ftplib.", "smtplib.", "pickle.find_class", "os.system", "os.exec",
             "os.posix_spawn", "subprocess.Popen", "webbrowser.")

def guard(event, arguments):
    if armed and event.startswith(FORBIDDEN):
        sys.stderr.write(f"forbidden: {event} {arguments}\\n")
        import os
        os._exit(99)

armed = False
sys.addaudithook(guard)
import torch, torchaudio, soundfile, pyloudnorm  # what they do when they are imported is theirs
armed = True
"""
COMMANDS = """
import json
from hgs_cli.cli import main
for command in json.loads(sys.argv.pop(1)):
    sys.argv[1:] = command
    try:
        main()
    except SystemExit as stop:
        if stop.code:
            raise
print("all is made", flush=True)
"""
ATTEMPT = "import socket\nsocket.socket()"


def without_network() -> list[str]:
    """The command that runs another one in a network of its own, an empty one; nothing where that is not allowed."""
    for command in (["unshare", "-n"], ["unshare", "-r", "-n"]):
        if shutil.which("unshare") and not subprocess.run([*command, "true"], capture_output=True).returncode:
            return command
    return []


@dataclass(frozen=True)
class Guarded:
    """Guarded commands, and then an attempt that is forbidden.

    Attributes:
        commands: What they said and how they ended.
        attempt: Likewise.
        made: Names in the folder they worked in.
    """

    commands: list[Outcome]
    attempt: Outcome
    made: set[str]


@pytest.fixture(scope="module", params=few_of(["ready", "new"], "ready"))
def guarded(request: pytest.FixtureRequest, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Guarded:
    """In copies of a process that has read the program, or in a new one that has no network."""
    folder = tmp_path_factory.mktemp("guarded")
    for name, f0_hz in (("a.wav", 220.0), ("b.wav", 330.0)):
        soundfile.write(folder / name, tone(f0_hz, 0.2), 44_100)
    commands = [
        ["invert", "a.wav", "-o", "a.hgs", "--plot"],
        ["render", "a.hgs", "b.wav", "-p", "60", "-o", "out", "--format", "wav,sf2,sfz", "--audition", "--json"],
        ["mix", "a.hgs", "b.wav", "-p", "60", "-o", "mixed", "--quiet"],
    ]
    if request.param == "ready":
        processes: Processes = request.getfixturevalue("processes")
        outcomes = [processes.run(folder, Order(command, first=GUARD))[0] for command in commands]
        attempt = processes.run(folder, Order([], first=GUARD + ATTEMPT))[0]
    else:
        done = subprocess.run(
            [*without_network(), sys.executable, "-c", GUARD + COMMANDS + ATTEMPT, json.dumps(commands)],
            capture_output=True,
            text=True,
            cwd=folder,
            env={**os.environ, "HGS_WEIGHTS": str(bundle), "PYTHONPATH": str(ROOT)},
            check=False,
        )
        attempt = Outcome(done.returncode, done.stdout, done.stderr)
        outcomes = [replace(attempt, code=0 if "all is made" in done.stdout else done.returncode)]
    return Guarded(outcomes, attempt, {path.name for path in folder.iterdir()})


def test_nothing_is_fetched_sent_or_started(guarded: Guarded) -> None:
    assert [(one.code, one.err) for one in guarded.commands if one.code] == []
    assert guarded.made >= {"a.hgs", "out", "mixed"}


def test_the_guard_of_these_tests_bites(guarded: Guarded) -> None:
    assert guarded.attempt.code == 99
    assert "forbidden: socket" in guarded.attempt.err
