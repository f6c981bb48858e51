"""JSON that every reader accepts: no NaN and no infinity."""

from __future__ import annotations

import json
import math
from typing import Any


def json_text(content: Any) -> str:
    """Indented JSON of plain values, with a newline at the end.

    Numbers that are not finite become null, because JSON has no way to write them.
    """
    return json.dumps(finite(content), indent=2, allow_nan=False) + "\n"


def finite(content: Any) -> Any:
    """The same plain values with None for numbers that are not finite; keys become text."""
    if isinstance(content, dict):
        return {str(key): finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
