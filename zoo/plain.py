"""Texts from outside as one line that a terminal can show."""


def plain(text: str, longest: int = 2000) -> str:
    """One line that shows what it holds: no control character, none that turns the writing round, no mile of it."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)
    clean = " ".join(text.split())
    return clean if len(clean) <= longest else f"{clean[:longest]}…"
