"""How the program ends when a signal asks for it: at once, or by an exception where something is to be undone.

An exception that a signal handler raises inside a library may come out as another one, or not at all: torch says that
it does not know the shape of a storage, an import is tried in another way. So what counts is that the end was asked
for, not which exception tells of it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class _State:
    asked: int | None = None  # the exit code that belongs to the signal
    to_undo = 0  # bodies of `undone` that run


def listen() -> None:
    """End the process when a signal asks for it; signals that nohup and the like have turned off stay off."""
    for number in _SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _end)


def ignore() -> None:
    """Listen no longer: all is done."""
    for number in _SIGNALS:
        if signal.getsignal(number) is _end:
            signal.signal(number, signal.SIG_IGN)


def asked() -> int | None:
    """The exit code, if the end was asked for."""
    return _State.asked


def check() -> None:
    """End now if the end was asked for, whatever became of the exception that told of it.

    Raises:
        SystemExit: It was.
    """
    if _State.asked is not None:
        raise SystemExit(_State.asked)


@contextmanager
def undone() -> Iterator[None]:
    """While the body runs, the end comes as SystemExit, so that what was begun can be taken back."""
    _State.to_undo += 1
    try:
        yield
    finally:
        _State.to_undo -= 1


def _end(number: int, _: Any) -> None:
    _State.asked = 128 + number
    if not _State.to_undo:
        os._exit(_State.asked)
    check()
