"""hgs in processes that start at once: one that has read the program waits, and a copy of it does the work.

Copies are asked for by tests, or by `hgs_program`, a program that shells can call as they would call hgs.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT, Outcome

_WAITING = """
import json, os, resource, select, signal, socket, sys, time, warnings
warnings.simplefilter("ignore")
import hgs_cli.__main__, hgs_cli.cli.app, hgs_cli.ending, hgs_cli.export.delivery, hgs_cli.export.plot, hgs_cli.cli.info
import torch
torch.set_num_threads(1)
os.fsync = lambda handle: None  # files of tests need not outlive the machine

# Once here, so that copies find all that is read at first use, also as a user to whom Python's own files are closed.
import numpy, soundfile, tempfile
from typer.testing import CliRunner
with tempfile.TemporaryDirectory() as folder:
    soundfile.write(folder + "/a.wav", 0.5 * numpy.sin(numpy.arange(8000) * 0.05), 44100)
    for command in (["render", "-p", "60", "--json", "--plot", "-o"], ["invert", "-o"]):
        CliRunner().invoke(hgs_cli.cli.app.app, [command[0], folder + "/a.wav", *command[1:], folder + "/out"])

# Options of all commands are read once, too.
import functools, typer.main
typer.main.get_command = functools.cache(typer.main.get_command)
typer.main.get_command(hgs_cli.cli.app.app)

ASKS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
for ask in ASKS:  # the tests may run where these are ignored: under nohup, or behind a shell
    signal.signal(ask, signal.default_int_handler if ask == signal.SIGINT else signal.SIG_DFL)

def start(order):
    signal.pthread_sigmask(signal.SIG_BLOCK, ASKS)  # a copy listens from its first moment on
    pid = os.fork()
    if not pid:
        hgs_cli.ending.listen()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKS)
    if pid:
        return pid
    os.chdir(order["cwd"])
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, number)
        os.close(file)
    if order["largest"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest"], resource.RLIM_INFINITY))
    if order["data"] is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (order["data"], order["data"]))
    if order["user"] is not None:
        os.setgid(order["user"]); os.setuid(order["user"])
    exec(order["first"], globals())
    work(open(os.devnull), order["arguments"])  # stdin has been read from

def work(stdin, arguments):
    sys.stdin = stdin
    code = 1
    try:
        sys.argv = ["hgs", *arguments]
        hgs_cli.__main__.main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        sys.stdout.flush(); sys.stderr.flush()
        os._exit(code)

door = socket.socket(fileno=int(sys.argv[1]))
callers = {}  # of copies that run, by process

def serve(caller):
    told, (cwd, *files), *_ = socket.recv_fds(caller, 1 << 20, 4)
    pid = os.fork()
    if not pid:
        os.fchdir(cwd)
        for number, file in enumerate(files):
            os.dup2(file, number)
    for file in (cwd, *files):
        os.close(file)
    if not pid:
        told = json.loads(told)
        os.environ.clear()
        os.environ.update(told["environment"])
        work(open(0, closefd=False), told["arguments"])
    callers[pid] = caller

while True:
    ready = select.select([door, sys.stdin], [], [], 0.01 if callers else None)[0]
    if door in ready:
        serve(door.accept()[0])
    for pid in list(callers):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            callers.pop(pid).sendall(bytes([os.waitstatus_to_exitcode(status) % 256]))
    if sys.stdin not in ready:
        continue
    line = sys.stdin.readline()  # one at a time: each is answered before the next is written
    if not line:
        break
    orders = json.loads(line)
    began = time.monotonic()
    pids = [start(order) for order in orders]
    for order, pid in zip(orders, pids):
        if order["after"] is not None:
            time.sleep(max(0.0, order["after"] - (time.monotonic() - began)))
            os.kill(pid, order["signal"])
    ended = [os.wait4(pid, 0)[1:] for pid in pids]
    codes = [os.waitstatus_to_exitcode(status) for status, _ in ended]
    used = [[usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime] for _, usage in ended]
    print(json.dumps([codes, used, time.monotonic() - began]), flush=True)
"""

_CALL = """
import json, os, socket, sys
door = socket.socket(socket.AF_UNIX)
door.connect(sys.argv[1])
told = {"arguments": sys.argv[2:], "environment": dict(os.environ)}
socket.send_fds(door, [json.dumps(told).encode()], [os.open(".", os.O_RDONLY), 0, 1, 2])
sys.exit(door.recv(1)[0])
"""


@dataclass(frozen=True)
class Order:
    """A call of hgs.

    Attributes:
        arguments: Of the command line.
        after: Seconds until it gets `signal`; None for never.
        signal: Its number.
        largest: Bytes that a file may have; None for any.
        data: Bytes that it may hold in memory; None for any.
        user: That it runs as; None for the tests' own.
        printed: File that its results go to; None for one that is read.
        first: Python that it runs before it begins.
    """

    arguments: Sequence[str | Path]
    after: float | None = None
    signal: int = 9
    largest: int | None = None
    data: int | None = None
    user: int | None = None
    printed: str | None = None
    first: str = ""


class Processes:
    """A process that has read the program, and its copies.

    Args:
        bundle: Weights of all calls.
        scratch: Where what they say is kept.
    """

    def __init__(self, bundle: Path, scratch: Path) -> None:
        self.scratch = scratch
        self.seconds = 0.0  # that the last calls took
        self.used: list[tuple[float, float]] = []  # MiB that each held at most, and seconds of a processor
        environment = {**os.environ, "HGS_WEIGHTS": str(bundle), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self._folder = tempfile.TemporaryDirectory(prefix="hgs-")  # names of sockets are short
        self._door = Path(self._folder.name) / "door"
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(str(self._door))
            door.listen(64)
            self._waiting = subprocess.Popen(
                [sys.executable, "-c", _WAITING, str(door.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
                pass_fds=[door.fileno()],
            )

    def run(self, folder: Path, *orders: Order) -> list[Outcome]:
        """Make calls at the same time, in a folder, and wait for all of them."""
        said = [(self.scratch / f"{index}.out", self.scratch / f"{index}.err") for index in range(len(orders))]
        told = [
            {**vars(order), "arguments": [str(one) for one in order.arguments], "cwd": str(folder),
             "out": order.printed or str(out), "err": str(err)}
            for order, (out, err) in zip(orders, said, strict=True)
        ]  # fmt: skip
        assert self._waiting.stdin is not None
        assert self._waiting.stdout is not None
        self._waiting.stdin.write(json.dumps(told) + "\n")
        self._waiting.stdin.flush()
        codes, self.used, self.seconds = json.loads(self._waiting.stdout.readline())
        return [
            Outcome(code, "" if order.printed else out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))
            for order, code, (out, err) in zip(orders, codes, said, strict=True)
        ]

    def hgs_program(self) -> str:
        """The lines of a shell script that is hgs: with the caller's folder, stdin, stdout and stderr."""
        call = self.scratch / "call.py"
        call.write_text(_CALL)
        return f'exec {shlex.quote(sys.executable)} -I -S {shlex.quote(str(call))} {shlex.quote(str(self._door))} "$@"'

    def close(self) -> None:
        """End it."""
        self._waiting.communicate()
        self._folder.cleanup()
