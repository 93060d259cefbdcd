"""What people read while a command runs, on stderr, and its results, on stdout; rich is imported at first use."""

from __future__ import annotations

import errno
import io
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hgs_cli import ending
from hgs_cli.errors import OutputError, printable

if TYPE_CHECKING:
    from rich.progress import Progress

LEFT = 141  # exit code, as a shell has it, of a program whose reader has left
LINE_EVERY_S = 10.0  # between lines about one file, where there is no terminal

Report = Callable[[str], None]
"""Takes one line for people; library code gets one passed in and never prints."""

Advance = Callable[[int], None]
"""Takes the number of steps done since the last call."""

HowFar = Callable[[int, int], None]
"""Takes how much is done, and how much there is."""

Tell = Callable[[str, int, int], None]
"""Takes what was just done, how much is done, and how much there is; 0 where that is not known."""


class Messages:
    """Lines, progress and tables on stderr; all of it silent when `quiet`."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet

    def line(self, text: str) -> None:
        """Say one line."""
        if not self.quiet:
            with suppress(BrokenPipeError):  # nobody reads it: the work goes on
                sys.stderr.write(f"{printable(text)}\n")

    def warn(self, text: str) -> None:
        """Say one line that begins with `hgs: warning:`."""
        self.line(f"hgs: warning: {text}")

    @contextmanager
    def batch(self, names: Sequence[str], steps: int) -> Iterator[Batch]:
        """Show how far the work on several files is: bars with the time left on a terminal, else a line now and then.

        Args:
            names: Of the files.
            steps: Of the work on each; 0 where they are not told.
        """
        if self.quiet or not sys.stderr.isatty():
            yield Batch(self, names, steps, None)
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        # Redirected, results would go where the bars go: to stderr.
        bars = Progress(
            *columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False
        )
        with ending.undone(), bars as progress:  # else the terminal's cursor would stay hidden
            yield Batch(self, names, steps, progress)

    def table(self, title: str, rows: Sequence[tuple[str, ...]], header: Sequence[str] = ()) -> None:
        """Show a table on stderr."""
        if not self.quiet:
            print_table(title, rows, header, to_stdout=False)


class Batch:
    """Progress over several files.

    Args:
        messages: Where lines go.
        names: Of the files.
        steps: Of the work on each.
        progress: Bars; None for lines.
    """

    def __init__(self, messages: Messages, names: Sequence[str], steps: int, progress: Progress | None) -> None:
        self.messages, self.names, self.steps, self.progress = messages, names, steps, progress
        self._all = progress.add_task("files", total=len(names)) if progress is not None and len(names) > 1 else None

    @contextmanager
    def file(self, index: int) -> Iterator[Advance]:
        """Show the work on one file while the body runs; yields a function that takes steps done."""
        name = printable(Path(self.names[index]).name)
        if self.progress is not None:
            task = self.progress.add_task(name, total=self.steps or None)
            progress = self.progress
            try:
                yield lambda steps: progress.advance(task, steps)
            finally:
                progress.remove_task(task)
            return
        done, last = 0, time.monotonic()

        def advance(steps: int) -> None:
            nonlocal done, last
            done += steps
            if time.monotonic() - last > LINE_EVERY_S and done < self.steps:
                last = time.monotonic()
                self.messages.line(f"{name}: {done} of {self.steps}")

        yield advance

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take the bars away while the body prints results."""
        if self.progress is None:
            yield
            return
        self.progress.stop()
        try:
            yield
        finally:
            self.progress.start()

    def done(self, index: int, how: str) -> None:
        """Count a file as worked on."""
        ending.check()
        if self.progress is not None:
            if self._all is not None:
                self.progress.advance(self._all)
        elif len(self.names) > 1:
            self.messages.line(f"[{index + 1}/{len(self.names)}] {self.names[index]}: {how}")


def say(line: str) -> None:
    """Print a line of results on stdout; a terminal gets no codes that a file's name may hold, a pipe the very name.

    Raises:
        OutputError: It cannot be written: the disk behind it is full, for instance.
    """
    say_text(printable(line) if sys.stdout.isatty() else line)


def say_text(text: str) -> None:
    """Print hgs's own words, of several lines or one, on stdout.

    Raises:
        OutputError: They cannot be written.
    """
    with _writing():
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def say_file(path: Path) -> None:
    """Write a file to stdout as it is.

    Raises:
        OutputError: It cannot be written.
    """
    with _writing(), path.open("rb") as file:
        sys.stdout.flush()
        shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def stdin_bytes() -> BinaryIO:
    """What there is on stdin; nothing, where it is closed."""
    return io.BytesIO() if sys.stdin is None else sys.stdin.buffer


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.EPIPE:  # who reads the results has left: that is no error of ours
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would try once more at its end
            raise SystemExit(LEFT) from error
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"the results cannot be printed: {reason}", "files that were written stay") from error


def print_table(title: str, rows: Sequence[tuple[str, ...]], header: Sequence[str] = (), *, to_stdout: bool) -> None:
    """Print a table: drawn on a terminal, tab-separated lines below `# title` anywhere else.

    Args:
        title: Printed above the rows.
        rows: Cells as text; every row as long as the header, if there is one.
        header: Names of the columns.
        to_stdout: Whether the table is the command's result; otherwise it goes to stderr.
    """
    stream = sys.stdout if to_stdout else sys.stderr
    title, rows = printable(title), [tuple(printable(cell) for cell in row) for row in rows]
    if not stream.isatty():
        with _writing():
            stream.write(f"# {title}\n")
            for row in ([tuple(header)] if header else []) + list(rows):
                stream.write("\t".join(row) + "\n")
            stream.flush()
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(title), title_justify="left", box=box.SIMPLE_HEAD if header else None, show_header=bool(header)
    )
    for index in range(len(rows[0]) if rows else 0):
        name = header[index] if header else ""
        table.add_column(name, justify="left" if index == 0 or not header else "right")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(stderr=not to_stdout).print(table)
