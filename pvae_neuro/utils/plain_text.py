"""Texts from files and users, made safe to show on a terminal of any encoding."""

from __future__ import annotations

import codecs
import unicodedata

PLAIN = "pvae_neuro.plain"
"""Name of an error handler of encodings: what an encoding lacks is written in ASCII."""

# Control and format characters (also those that turn the direction of writing), halves of
# surrogate pairs, separators of lines and paragraphs.
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_ASCII = {
    "–": "-", "—": "-", "−": "-", "‐": "-", "…": "...", "×": "x", "·": "*", "±": "+-", "≤": "<=",
    "≥": ">=", "≠": "!=", "≈": "~", "→": "->", "←": "<-", "²": "^2", "³": "^3", "µ": "u", "μ": "u",
    "σ": "sigma", "‘": "'", "’": "'", "“": '"', "”": '"',
}  # fmt: skip


def printable(text: object, keep: str = "") -> str:
    r"""Text with every control character, and every other one that shows nothing, escaped.

    Parameters
    ----------
    text : object
        Its ``str`` is taken.
    keep : str
        Characters to leave as they are, such as ``"\n"``.

    Returns
    -------
    str
    """
    written = str(text)
    if written.isprintable():
        return written
    return "".join(
        _escape(letter)
        if letter not in keep and unicodedata.category(letter) in _HIDDEN
        else letter
        for letter in written
    )


def _escape(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    return "".join(_ASCII.get(letter) or _escape(letter) for letter in found), error.end


codecs.register_error(PLAIN, _in_ascii)
