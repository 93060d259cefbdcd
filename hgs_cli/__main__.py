"""Where `hgs` and `python -m hgs_cli` begin."""

import signal
import sys


def main() -> None:
    """Run the command line; an interrupt ends it without a word, be it while Python still reads the program."""
    try:
        from hgs_cli.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done, and Python would only talk about its own end


if __name__ == "__main__":
    main()
