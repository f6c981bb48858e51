"""Settings that are checked when they are made: pydantic models with this package's errors."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pvae_neuro.errors import InputError
from pvae_neuro.utils.show import short_repr, show

_MOST_PROBLEMS = 5


class Settings(BaseModel):
    """Base of settings; a value that does not fit, or an unknown name, is an :class:`InputError`.

    Its cause is pydantic's ``ValidationError``. ``model_validate`` raises that one itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    __repr__ = short_repr

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InputError(f"{type(self).__name__}: {problems_of(error)}") from error

    # As pydantic marks its own: validation of a mapping does not come by here.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]


def problems_of(error: ValidationError) -> str:
    """What a validation found, in one line: field, what is expected, what came."""
    return "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'configuration'}: {_problem(item)}"
        for item in error.errors(include_url=False)[:_MOST_PROBLEMS]
    )


def _problem(item: Any) -> str:
    came = "" if isinstance(item["input"], dict) else f", got {show(item['input'])}"
    return f"{item['msg'].removeprefix('Value error, ')}{came}"
