"""`python -m hgs_cli` does what `hgs` does."""

from hgs_cli.cli import main

if __name__ == "__main__":
    main()
