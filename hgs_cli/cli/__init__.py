"""The command line: what is asked for, read and refused in plain words; nothing heavy is imported at first."""

import io
import sys


def main() -> None:
    """Run the command line."""
    from hgs_cli.cli.app import app

    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")  # paths are what they are, in whatever encoding
    app(prog_name="hgs")
