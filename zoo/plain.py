"""Texts from outside as one line that a terminal can show."""

LONGEST_SAID = 200
"""Characters of what somebody else says in the middle of a message."""


def plain(text: str, longest: int = 2000) -> str:
    """One line that shows what it holds: no control character, none that turns the writing round, no mile of it."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)
    clean = " ".join(text.split())
    return clean if len(clean) <= longest else f"{clean[:longest]}…"


def first_line(error: object) -> str:
    """What an exception says, in a line; its kind where it says nothing."""
    return plain(str(error).strip().partition("\n")[0], LONGEST_SAID) or type(error).__name__
