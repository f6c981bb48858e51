"""What an engine or a device needs of the machine: one fact each, and its remedy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any


@dataclass(frozen=True)
class Check:
    """A fact about the machine.

    Attributes
    ----------
    name : str
        What was looked at.
    passed : bool
    found : str
        What is there.
    remedy : str
        What to do where it did not pass; empty where it did.
    """

    name: str
    passed: bool
    found: str
    remedy: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def check(name: str, passed: bool, found: str, remedy: str) -> Check:
    """A check, without its remedy where it passed."""
    return Check(name, passed, found, "" if passed else remedy)


def module_found(module: str) -> bool:
    """Whether a module can be found; does not import it, but its packages."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def installed_version(package: str) -> str | None:
    """Version of a distribution; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def package_check(package: str, remedy: str, expected: str | None = None) -> Check:
    """Whether a distribution is installed, in the version that is expected."""
    found = installed_version(package)
    passed = found is not None and expected in (None, found)
    wanted = "" if expected is None or passed else f"; expected {expected}"
    return check(package, passed, f"{found or 'not installed'}{wanted}", remedy)
