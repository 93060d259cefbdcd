"""The manual: one Markdown page a topic, beside this file; rich is imported for a terminal only."""

from __future__ import annotations

import difflib
import io
import sys
from pathlib import Path

from hgs_cli.console import say, say_text
from hgs_cli.errors import UsageError


def topics() -> dict[str, Path]:
    """Pages by topic, in alphabetical order."""
    return {page.stem: page for page in sorted(Path(__file__).parent.glob("*.md"))}


def list_topics() -> None:
    """Print every topic and the first sentence of its page, a line each."""
    pages = topics()
    width = max(map(len, pages))
    for topic, page in pages.items():
        say(f"{topic:<{width}}  {first_sentence(page.read_text(encoding='utf-8'))}")


def first_sentence(text: str) -> str:
    """What a page says of itself: the sentence below its title."""
    below = text.split("\n\n", 2)[1]
    return " ".join(below.split()).split(". ", 1)[0].removesuffix(".") + "."


def show(topic: str) -> None:
    """Print a page: laid out on a terminal, else as it is.

    Raises:
        UsageError: There is no such topic.
    """
    pages = topics()
    page = pages.get(topic.removesuffix(".md"))  # as links between pages have it
    if page is None:
        near = difflib.get_close_matches(topic, pages, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UsageError(f"the manual has no topic {topic!r}", f"{hint}hgs manual lists them")
    text = page.read_text(encoding="utf-8")
    terminal = sys.stdout.isatty()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a pipe gets the page's bytes; a terminal what it can show
        sys.stdout.reconfigure(errors="replace") if terminal else sys.stdout.reconfigure(encoding="utf-8")
    if not terminal:
        say_text(text.removesuffix("\n"))
        return
    from rich.console import Console
    from rich.markdown import Markdown

    # Where a link leads is printed: a terminal follows no link between pages.
    Console().print(Markdown(text, code_theme="ansi_light", hyperlinks=False))
