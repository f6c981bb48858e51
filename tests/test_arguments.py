"""Arguments are checked by the hints of their function, in words that say what is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from numpy.typing import ArrayLike

from pvae_neuro.errors import InputError
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.show import show

if TYPE_CHECKING:
    from nowhere import Unknown


class Later:
    """Named in a hint above its definition in spirit: hints are read at the first call."""


@checked
def call(
    whole: int = 0,
    number: float = 0.0,
    flag: bool = False,
    text: str = "",
    path: str | os.PathLike[str] = "",
    kind: Literal["last", "full"] | Sequence[str] = "last",
    function: Callable[[int], None] | None = None,
    values: ArrayLike = 0,
    mapping: Mapping[str, int] | None = None,
    later: Later | None = None,
    pair: tuple[float, int] | None = None,
    row: tuple[int, ...] = (),
    unknown: Unknown = None,
    anything: Any = None,
    *more: int,
    **others: int,
) -> str:
    return "called"


FITTING = [
    {"whole": 3}, {"whole": np.int64(3)}, {"number": 3}, {"number": np.float32(0.5)},
    {"flag": True}, {"flag": np.True_}, {"path": os.curdir}, {"kind": "full"},
    {"kind": ("a", "b")}, {"function": print}, {"values": object()}, {"mapping": {}},
    {"later": Later()}, {"pair": (0.5, 3)}, {"row": (1, 2, 3)}, {"row": ()}, {"unknown": 3},
    {"anything": 3}, {"others": "x"},
]  # fmt: skip
UNFIT = [
    ({"whole": 1.5}, "call: whole: expected a whole number, got 1.5"),
    ({"whole": True}, "call: whole: expected a whole number, got True"),
    ({"whole": np.zeros(3)}, "call: whole: expected a whole number, got float64 [3]"),
    ({"number": "2"}, "call: number: expected a number, got '2'"),
    ({"flag": 1}, "call: flag: expected True or False, got 1"),
    ({"text": b"x"}, "call: text: expected text, got b'x'"),
    ({"path": 3}, "call: path: expected text or a path, got 3"),
    ({"kind": "other"}, "expected 'last' or 'full' or a sequence of text, got 'other'"),
    ({"kind": [1]}, "expected 'last' or 'full' or a sequence of text, got [1]"),
    ({"function": 3}, "call: function: expected a function or None, got 3"),
    ({"mapping": []}, "call: mapping: expected a mapping or None, got []"),
    ({"pair": (1.0,)}, "expected a tuple of a number, a whole number or None, got "),
    ({"pair": (1.0, 2.5)}, "expected a tuple of a number, a whole number or None, got "),
    ({"row": (1, 2.5)}, "call: row: expected a tuple, got "),
    ({"later": 3}, "call: later: expected Later or None, got 3"),
]


@pytest.mark.parametrize("arguments", FITTING)
def test_what_fits_is_passed_on(arguments):
    assert call(**arguments) == "called"


@pytest.mark.parametrize(("arguments", "message"), UNFIT)
def test_what_does_not_fit_is_named(arguments, message):
    with pytest.raises(InputError) as error:
        call(**arguments)
    assert message in str(error.value)


def test_wrong_numbers_of_arguments_stay_pythons_own():
    @checked
    def two(a: int, b: int) -> None:
        """Take two."""

    with pytest.raises(TypeError, match="missing 1 required"):
        two(1)
    with pytest.raises(TypeError, match="unexpected keyword"):
        two(1, 2, c=3)


def test_a_checked_function_keeps_its_name_and_page():
    assert call.__name__ == "call"
    assert call.__module__ == __name__


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.zeros((2, 3), np.float32), "float32 [2, 3]"),
        (1 << 200, "a number of 201 bits"),
        ("a" * 100, "'" + "a" * 56 + "..."),
        ("two\nlines", "'two\\nlines'"),
    ],
)
def test_values_are_shown_short(value, text):
    assert show(value) == text
