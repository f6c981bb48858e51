"""Arguments of public functions: a call checks their types first, by the function's own hints.

What a hint cannot say, such as a range, is checked by the function itself.
"""

from __future__ import annotations

import inspect
import numbers
import os
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cache, wraps
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar, Union, get_args, get_origin

import numpy as np
from numpy.typing import ArrayLike

from pvae_neuro.errors import InputError
from pvae_neuro.utils.show import show

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def checked(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Refuse arguments of another type than the function's hints say, with :class:`InputError`.

    Numbers of NumPy pass as Python's; a boolean is no number, a text no sequence of texts.
    ``ArrayLike``, protocols and what is imported for type checkers alone are left to the function.
    """
    signature = inspect.signature(function)
    where = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]

    @cache
    def rules() -> list[tuple[str, _Rule]]:
        # At the first call: a hint may name what is defined further down.
        found = ((name, _rule_of(function, each)) for name, each in signature.parameters.items())
        return [(name, rule) for name, rule in found if rule is not None]

    @wraps(function)
    def call(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:
            # Too many, too few or unknown names: Python says so, in its own words.
            return function(*args, **kwargs)
        for name, rule in rules():
            if name in given and not rule.fits(given[name]):
                raise InputError(f"{where}: {name}: expected {rule.words}, got {show(given[name])}")
        return function(*args, **kwargs)

    return call


def check_fields(settings: Any) -> None:
    """Refuse fields of a dataclass of another type than its hints say, as :func:`checked` does."""
    for name, rule in _field_rules(type(settings)).items():
        value = getattr(settings, name)
        if not rule.fits(value):
            raise InputError(
                f"{type(settings).__name__}: {name}: expected {rule.words}, got {show(value)}"
            )


class _Rule(NamedTuple):
    """What a hint demands."""

    fits: Callable[[Any], bool]
    words: str


def _rule_of(function: Callable[..., Any], parameter: inspect.Parameter) -> _Rule | None:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return None
    return _rule_in(parameter.annotation, inspect.unwrap(function).__globals__)


def _field_rules(kind: type) -> dict[str, _Rule]:
    known = vars(sys.modules[kind.__module__])
    found = {field.name: _rule_in(field.type, known) for field in fields(kind)}
    return {name: rule for name, rule in found.items() if rule is not None}


def _rule_in(hint: Any, known: dict[str, Any]) -> _Rule | None:
    """The rule of a hint as it stands in a source, by the names that are known there."""
    try:
        # The text is this package's own source.
        return _rule(eval(hint, known) if isinstance(hint, str) else hint)
    except NameError:  # Imported for type checkers alone.
        return None


def _rule(hint: Any) -> _Rule | None:
    """The rule of a hint; None if it allows anything, or nothing can tell."""
    origin, parts = get_origin(hint) or hint, get_args(hint)
    if origin in _FORMS:
        return _FORMS[origin](parts)
    if hint in _NUMBERS:
        return _NUMBERS[hint]
    if origin is inspect.Parameter.empty:
        return None
    if not isinstance(origin, type) or origin is object or _is_static_protocol(origin):
        return None
    return _Rule(lambda value: isinstance(value, origin), _WORDS.get(origin, origin.__name__))


def _is_static_protocol(kind: type) -> bool:
    return getattr(kind, "_is_protocol", False) and not getattr(kind, "_is_runtime_protocol", False)


def _any_of(parts: tuple[Any, ...]) -> _Rule | None:
    if set(get_args(ArrayLike)) <= set(parts):
        return None
    rules = [_rule(part) for part in parts]
    known = [rule for rule in rules if rule is not None]
    if len(known) < len(rules):
        return None
    words = " or ".join(dict.fromkeys(rule.words for rule in known))
    return _Rule(lambda value: any(rule.fits(value) for rule in known), words)


def _one_of(parts: tuple[Any, ...]) -> _Rule:
    return _Rule(
        lambda value: any(type(value) is type(part) and value == part for part in parts),
        " or ".join(repr(part) for part in parts),
    )


def _sequence_of(parts: tuple[Any, ...]) -> _Rule:
    item = _rule(parts[0])

    def fits(value: Any) -> bool:
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            return False
        return item is None or all(item.fits(each) for each in value)

    return _Rule(fits, "a sequence" if item is None else f"a sequence of {item.words}")


def _tuple_of(parts: tuple[Any, ...]) -> _Rule:
    if not parts or parts[-1] is Ellipsis:
        rule = _sequence_of(parts[:1] or (Any,))
        return _Rule(lambda v: isinstance(v, tuple) and rule.fits(v), "a tuple")
    rules = [_rule(part) for part in parts]

    def fits(value: Any) -> bool:
        return (
            isinstance(value, tuple)
            and len(value) == len(rules)
            and all(r is None or r.fits(v) for r, v in zip(rules, value, strict=True))
        )

    items = ", ".join("anything" if rule is None else rule.words for rule in rules)
    return _Rule(fits, f"a tuple of {items}")


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool | np.bool_)


_FORMS: dict[Any, Callable[[tuple[Any, ...]], _Rule | None]] = {
    Union: _any_of,
    types.UnionType: _any_of,
    Literal: _one_of,
    Sequence: _sequence_of,
    tuple: _tuple_of,
    Callable: lambda parts: _Rule(callable, "a function"),
}
# NumPy's numbers are registered with these classes of Python.
_NUMBERS: dict[Any, _Rule] = {
    int: _Rule(lambda v: isinstance(v, numbers.Integral) and not _is_flag(v), "a whole number"),
    float: _Rule(lambda v: isinstance(v, numbers.Real) and not _is_flag(v), "a number"),
    bool: _Rule(_is_flag, "True or False"),
    None: _Rule(lambda value: value is None, "None"),
}
_NUMBERS[type(None)] = _NUMBERS[None]
_WORDS: dict[Any, str] = {str: "text", os.PathLike: "a path", Mapping: "a mapping", dict: "a dict"}
