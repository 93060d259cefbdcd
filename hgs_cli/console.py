"""What people read while a command runs: progress, warnings and tables, on stderr; rich is imported at first use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

Report = Callable[[str], None]
"""Takes one line for people; library code gets one passed in and never prints."""

Advance = Callable[[int], None]
"""Takes the number of steps done since the last call."""


class Messages:
    """Lines, progress and tables on stderr; all of it silent when `quiet`."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet

    def line(self, text: str) -> None:
        """Say one line."""
        if not self.quiet:
            sys.stderr.write(f"{text}\n")

    def warn(self, text: str) -> None:
        """Say one line that begins with `hgs: warning:`."""
        self.line(f"hgs: warning: {text}")

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Advance]:
        """Show a bar on a terminal while the body runs, and nothing anywhere else.

        Yields:
            A function that takes the number of steps done since its last call.
        """
        if self.quiet or not sys.stderr.isatty():
            yield lambda steps: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(label, total=total)
            yield lambda steps: progress.advance(task, steps)

    def table(self, title: str, rows: Sequence[tuple[str, ...]], header: Sequence[str] = ()) -> None:
        """Show a table on stderr."""
        if not self.quiet:
            print_table(title, rows, header, to_stdout=False)


def print_table(title: str, rows: Sequence[tuple[str, ...]], header: Sequence[str] = (), *, to_stdout: bool) -> None:
    """Print a table: drawn on a terminal, tab-separated lines below `# title` anywhere else.

    Args:
        title: Printed above the rows.
        rows: Cells as text; every row as long as the header, if there is one.
        header: Names of the columns.
        to_stdout: Whether the table is the command's result; otherwise it goes to stderr.
    """
    stream = sys.stdout if to_stdout else sys.stderr
    if not stream.isatty():
        stream.write(f"# {title}\n")
        for row in ([tuple(header)] if header else []) + list(rows):
            stream.write("\t".join(row) + "\n")
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
