"""Where `hgs` and `python -m hgs_cli` begin and end."""

import os
import sys

from hgs_cli import ending
from hgs_cli.starting import prepare


def main() -> None:
    """Run the command line; an interrupt ends it without a word, be it while Python still reads the program."""
    prepare(sys.argv[1:])
    ending.listen()
    try:
        from hgs_cli.cli import main as run

        run()
    except BaseException as end:
        ending.ignore()
        asked = ending.asked()
        if asked is not None:
            _leave(asked)
        if isinstance(end, KeyboardInterrupt):
            sys.exit(130)
        if not isinstance(end, SystemExit) or not isinstance(end.code, int | None):
            raise
        if "torch" not in sys.modules or sys.argv[1:2] == ["train"]:
            raise
        _leave(end.code or 0)


def _leave(code: int) -> None:
    """End the process at once: all files are in their places, and to take torch apart needs a third of a second."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # whoever read the results has left, or has no room for them
        code = code or 1
    os._exit(code)


if __name__ == "__main__":
    main()
