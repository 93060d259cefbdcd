"""hgs in processes that start at once: one that has read the program waits, and a copy of it does the work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT, Outcome

_WAITING = """
import json, os, resource, signal, sys, time, warnings
warnings.simplefilter("ignore")
import hgs_cli.__main__, hgs_cli.cli, hgs_cli.ending, hgs_cli.export.delivery, hgs_cli.export.plot, hgs_cli.info
import torch
torch.set_num_threads(1)

# Once here, so that copies find all that is read at first use, also as a user to whom Python's own files are closed.
import numpy, soundfile, tempfile
from typer.testing import CliRunner
with tempfile.TemporaryDirectory() as folder:
    soundfile.write(folder + "/a.wav", 0.5 * numpy.sin(numpy.arange(8000) * 0.05), 44100)
    CliRunner().invoke(hgs_cli.cli.app, ["render", folder + "/a.wav", "-p", "60", "-o", folder + "/out"])

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
    sys.stdin = open(os.devnull)  # this one has been read from
    os.chdir(order["cwd"])
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, number)
        os.close(file)
    if order["largest"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest"], resource.RLIM_INFINITY))
    if order["user"] is not None:
        os.setgid(order["user"]); os.setuid(order["user"])
    code = 1
    try:
        sys.argv = ["hgs", *order["arguments"]]
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

for line in sys.stdin:
    orders = json.loads(line)
    began = time.monotonic()
    pids = [start(order) for order in orders]
    for order, pid in zip(orders, pids):
        if order["after"] is not None:
            time.sleep(max(0.0, order["after"] - (time.monotonic() - began)))
            os.kill(pid, order["signal"])
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    print(json.dumps([codes, time.monotonic() - began]), flush=True)
"""


@dataclass(frozen=True)
class Order:
    """A call of hgs.

    Attributes:
        arguments: Of the command line.
        after: Seconds until it gets `signal`; None for never.
        signal: Its number.
        largest: Bytes that a file may have; None for any.
        user: That it runs as; None for the tests' own.
        printed: File that its results go to; None for one that is read.
    """

    arguments: Sequence[str | Path]
    after: float | None = None
    signal: int = 9
    largest: int | None = None
    user: int | None = None
    printed: str | None = None


class Processes:
    """A process that has read the program, and its copies.

    Args:
        bundle: Weights of all calls.
        scratch: Where what they say is kept.
    """

    def __init__(self, bundle: Path, scratch: Path) -> None:
        self.scratch = scratch
        self.seconds = 0.0  # that the last calls took
        environment = {**os.environ, "HGS_WEIGHTS": str(bundle), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self._waiting = subprocess.Popen(
            [sys.executable, "-c", _WAITING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
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
        codes, self.seconds = json.loads(self._waiting.stdout.readline())
        return [
            Outcome(code, "" if order.printed else out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))
            for order, code, (out, err) in zip(orders, codes, said, strict=True)
        ]

    def close(self) -> None:
        """End it."""
        self._waiting.communicate()
