"""IntegerNetwork to program and back: all but the arrays as JSON, the arrays as named tensors.

Both directions walk the fields of the network's own classes and the bounds declared there, so the
format is those declarations. In place of an array the program has the name of a tensor, which is
the place of the array in the network; one that holds a single number is written as that number.
Weights that another connection holds are ``null``. Reading checks keys and nesting; values are
checked when the network is built.

:func:`program_hash` says which network it is, whatever was measured of it and whoever wrote it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import CONNECTION_KINDS, Connection, IntegerNetwork, Measurements
from pvae_neuro.network.bounds import (
    Array,
    Items,
    Optional,
    Part,
    bound_of,
    came_later,
    faults,
)
from pvae_neuro.network.connection import Shared, resolve
from pvae_neuro.utils.show import show

SCHEMA_VERSION = 3
# What is said of a network to people; it changes nothing that is computed.
REMARKS = ("choices", "measurements")
LARGEST_TEXT = 1 << 24
LONGEST_NUMBER = 40

Arrays = Mapping[str, NDArray[Any]]


# ------------------------------------------------------------------------------------ writing


def to_program(network: IntegerNetwork) -> dict[str, Any]:
    """Describe a network without its arrays, as a value of JSON."""
    program: dict[str, Any] = _written(network, "")
    return program


def stored_arrays(network: IntegerNetwork) -> dict[str, NDArray[Any]]:
    """Arrays of a network by the names of their tensors; vectors lie as one row [1, n]."""
    return {
        name: values.reshape(1, -1) if values.ndim == 1 else values
        for name, values in _arrays(network, "")
        if not _is_number(values)
    }


def _is_number(values: NDArray[Any]) -> bool:
    return values.shape == (1,) and values.dtype == np.int32


def _written(value: Any, path: str) -> Any:
    if isinstance(value, np.ndarray):
        return int(value[0]) if _is_number(value) else path
    if isinstance(value, tuple):
        return [_written(item, place) for item, place in _placed(value, path)]
    if not hasattr(value, "__dataclass_fields__"):
        return value
    parts = {f.name: _written(part, place) for f, part, place in _parts(value, path)}
    if isinstance(value, Connection):
        parts["kind"] = value.kind
        parts["weight"] = None if value.shared is not None else parts["weight"]
    return parts


def _arrays(value: Any, path: str) -> Iterator[tuple[str, NDArray[Any]]]:
    if isinstance(value, np.ndarray):
        yield path, value
    elif isinstance(value, tuple):
        for item, place in _placed(value, path):
            yield from _arrays(item, place)
    elif hasattr(value, "__dataclass_fields__"):
        held_elsewhere = isinstance(value, Connection) and value.shared is not None
        for f, part, place in _parts(value, path):
            if not (held_elsewhere and f.name == "weight"):
                yield from _arrays(part, place)


def _parts(value: Any, path: str) -> Iterator[tuple[Any, Any, str]]:
    for f in fields(value):
        part = getattr(value, f.name)
        if not (came_later(f) and part == f.default):
            yield f, part, f"{path}.{f.name}" if path else f.name


def _placed(items: tuple[Any, ...], path: str) -> Iterator[tuple[Any, str]]:
    for number, item in enumerate(items):
        yield item, f"{path}.{getattr(item, 'name', number)}"


def canonical_json(value: Any) -> str:
    """JSON text: keys sorted, no spaces, so that equal values give equal text."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def program_hash(network: IntegerNetwork) -> str:
    """SHA-256 of the program without its remarks, and of the arrays: 64 hexadecimal digits.

    Networks that compute the same have the same one, whatever was measured of them, whichever
    versions wrote them and however their file is serialized.
    """
    program = {name: part for name, part in to_program(network).items() if name not in REMARKS}
    arrays = {
        name: {"sha256": hashlib.sha256(_bytes(values)).hexdigest(), "shape": list(values.shape)}
        for name, values in stored_arrays(network).items()
    }
    text = canonical_json({"arrays": arrays, "program": program})
    return hashlib.sha256(text.encode()).hexdigest()


def _bytes(values: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()


# ------------------------------------------------------------------------------------ reading


def parse_json(text: str) -> Any:
    """Value of a JSON text.

    Raises
    ------
    ValueError
        If it is no JSON, is nested or long beyond reason, names a key twice, or holds NaN.
    """
    if len(text) > LARGEST_TEXT:
        raise ValueError(f"expected at most {LARGEST_TEXT} characters, got {len(text)}")
    try:
        return json.loads(
            text, object_pairs_hook=_unique, parse_int=_whole, parse_constant=_no_constant
        )
    except RecursionError:
        raise ValueError("expected JSON, got text that is nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("expected each key once in an object of JSON")
    return found


def _whole(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"expected numbers of at most {LONGEST_NUMBER} digits, got {len(text)}")
    return int(text)


def _no_constant(text: str) -> Any:
    raise ValueError(f"expected finite numbers, got {text}")


def to_network(
    program: Any, arrays: Arrays, schema_version: int = SCHEMA_VERSION
) -> IntegerNetwork:
    """Put a program and its tensors together again.

    Raises
    ------
    ValueError
        If keys or nesting are wrong, or a tensor is missing or of another shape.
    NetworkError
        If a value is out of bounds, or the parts do not fit.
    """
    if schema_version < SCHEMA_VERSION:
        program = _with_all_measurements(program)
    made: IntegerNetwork = _read(Part(IntegerNetwork), program, "network", arrays)
    return made


def _with_all_measurements(program: Any) -> Any:
    """A program of an earlier schema, in which some measurements had no field."""
    measured = program.get("measurements") if type(program) is dict else None
    if type(measured) is not dict:
        return program
    missing = {f.name: None for f in fields(Measurements)}
    return {**program, "measurements": {**missing, **measured}}


def _read(bound: Any, value: Any, path: str, arrays: Arrays) -> Any:
    if isinstance(bound, type):
        return _object(bound, value, path, arrays)
    reader = _READERS.get(type(bound))
    # Numbers, flags, names and texts are what JSON says; the network checks them.
    return value if reader is None else reader(bound, value, path, arrays)


def _object(kind: type, value: Any, path: str, arrays: Arrays, **given: Any) -> Any:
    """An object of a class, from an object of JSON; ``given`` fields are not read."""
    if type(value) is not dict:
        raise ValueError(f"{path}: expected an object, got {show(value)}")
    known = {f.name: bound_of(f) for f in fields(kind)}
    for name in value:
        if name not in known:
            raise ValueError(f"{path}: has no field {show(name)}")
    later = {f.name for f in fields(kind) if came_later(f)}
    for name in known:
        if name not in value and name not in later:
            raise ValueError(f"{path}: misses the field {name!r}")
    for name, bound in known.items():
        if name not in given and name in value:
            given[name] = _read(bound, value[name], f"{path}.{name}", arrays)
    return kind(**given)


def _items(bound: Items, value: Any, path: str, arrays: Arrays) -> Any:
    if type(value) is not list:
        raise ValueError(f"{path}: expected a list, got {show(value)}")
    if len(value) > bound.most:
        raise ValueError(f"{path}: expected at most {bound.most} items, got {len(value)}")
    if bound.kind is Connection:
        return _connections(value, path, arrays)
    return tuple(_read(bound.kind, v, f"{path}[{n}]", arrays) for n, v in enumerate(value))


def _connections(values: list[Any], path: str, arrays: Arrays) -> tuple[Connection, ...]:
    """Those with weights of their own first; the others are views of them."""
    found: dict[int, Connection] = {}
    weights: dict[str, NDArray[Any]] = {}
    for number, value in enumerate(values):
        if type(value) is not dict or type(value.get("kind")) is not str:
            raise ValueError(f"{path}[{number}]: expected an object with its kind")
        if value.get("shared") is None:
            connection = _connection(value, f"{path}[{number}]", arrays)
            found[number] = connection
            if type(connection.name) is str:
                weights[connection.name] = connection.weight
    for number, value in enumerate(values):
        if number not in found:
            where = f"{path}[{number}]"
            given = _shared_weight(value, where, arrays, weights)
            found[number] = _connection(value, where, arrays, **given)
    return tuple(found[number] for number in range(len(values)))


def _connection(value: dict[str, Any], path: str, arrays: Arrays, **given: Any) -> Connection:
    kind = CONNECTION_KINDS.get(value["kind"])
    if kind is None:
        known = ", ".join(CONNECTION_KINDS)
        raise ValueError(f"{path}.kind: expected one of {known}; got {show(value['kind'])}")
    others = {name: part for name, part in value.items() if name != "kind"}
    made: Connection = _object(kind, others, path, arrays, **given)
    return made


def _shared_weight(
    value: dict[str, Any], path: str, arrays: Arrays, weights: dict[str, NDArray[Any]]
) -> dict[str, Any]:
    if value.get("weight") is not None:
        raise ValueError(f"{path}.weight: expected null where weights are shared")
    shared = _object(Shared, value["shared"], f"{path}.shared", arrays)
    for fault in faults(shared, f"{path}.shared"):
        raise ValueError(fault)
    if shared.connection not in weights:
        raise ValueError(
            f"{path}.shared.connection: expected a connection with weights of its own, got "
            f"{show(shared.connection)}"
        )
    return {"shared": shared, "weight": resolve(weights[shared.connection], shared)}


def _array(bound: Array, value: Any, path: str, arrays: Arrays) -> Any:
    if bound.dimensions == 1 and bound.dtype == "int32" and type(value) is int:
        limits = np.iinfo(np.int32)
        if not limits.min <= value <= limits.max:
            raise ValueError(f"{path}: expected a number of 32 bits, got {show(value)}")
        return np.array([value], np.int32)
    if type(value) is not str or value not in arrays:
        raise ValueError(f"{path}: expected the name of a tensor of the file, got {show(value)}")
    stored = arrays[value]
    if bound.dimensions != 1:
        return stored
    if stored.ndim != 2 or len(stored) != 1:
        raise ValueError(f"{path}: expected a tensor of one row, got shape {list(stored.shape)}")
    return stored[0]


def _optional(bound: Optional, value: Any, path: str, arrays: Arrays) -> Any:
    return None if value is None else _read(bound.kind, value, path, arrays)


def _part(bound: Part, value: Any, path: str, arrays: Arrays) -> Any:
    return _read(bound.kind, value, path, arrays)


_READERS: dict[type, Callable[[Any, Any, str, Arrays], Any]] = {
    Array: _array,
    Items: _items,
    Optional: _optional,
    Part: _part,
}
