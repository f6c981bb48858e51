"""The limit of memory under which files are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvae_neuro.errors import InputError
from pvae_neuro.utils import memory


def test_the_limit_is_half_of_what_is_free_unless_asked(monkeypatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 10_000_000)
    memory.require_memory(5_000_000, "x")
    with pytest.raises(InputError, match=r"x: needs 0.006 GB .*limit is 0.005 GB \(half of"):
        memory.require_memory(6_000_000, "x")
    memory.require_memory(6_000_000, "x", max_memory=6_000_000)
    with memory.memory_limit(4_000_000_000):
        memory.require_memory(4_000_000_000, "x")
        with pytest.raises(InputError, match=r"needs 5 GB of memory, the limit is 4 GB \(as asked"):
            memory.require_memory(5_000_000_000, "x")
    with pytest.raises(InputError, match=r"half of"):
        memory.require_memory(6_000_000, "x")


def test_a_megabyte_is_always_there_unless_a_limit_is_asked_for(monkeypatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: pytest.fail("the system is asked"))
    memory.require_memory(1_000_000, "x")
    with memory.memory_limit(999_999), pytest.raises(InputError, match="as asked"):
        memory.require_memory(1_000_000, "x")


def test_figures_beyond_floats() -> None:
    assert memory.gigabytes(10**400) == "10^391 GB"
    assert memory.gigabytes(1_500_000_000) == "1.5 GB"


def test_what_is_available_is_positive() -> None:
    assert memory.available_memory() > 1_000_000


def test_control_groups_are_heeded(tmp_path: Path) -> None:
    def group() -> int | None:
        return memory._group("memory.max", "memory.current", tmp_path)

    assert group() is None
    (tmp_path / "memory.current").write_text("300\n", encoding="ascii")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 50\n", encoding="ascii")
    (tmp_path / "memory.max").write_text("max\n", encoding="ascii")
    assert group() is None
    (tmp_path / "memory.max").write_text("1000\n", encoding="ascii")
    assert group() == 750


@pytest.mark.parametrize(
    ("entry", "controller"),
    [("0::/job/step\n", ""), ("7:cpu,memory:/job/step\n1:pids:/x\n", "memory")],
)
def test_control_groups_around_the_own_one_are_heeded(
    tmp_path: Path, entry: str, controller: str
) -> None:
    own, root = tmp_path / "own", tmp_path / "root"

    def left() -> int | None:
        return memory._groups(controller, root, "most", "used", own)

    assert left() is None
    own.write_text(entry, encoding="utf-8")
    assert left() is None
    for place, (most, used) in {"": (900, 100), "job": (500, 200), "job/step": (700, 10)}.items():
        (root / place).mkdir()
        for name, value in {"most": most, "used": used, "memory.stat": "anon 1"}.items():
            (root / place / name).write_text(f"{value}\n", encoding="ascii")
    assert left() == 300
    # Another's limit, and one above all groups, are none.
    own.write_text(entry.replace("/job/step", "/elsewhere"), encoding="utf-8")
    assert left() == 800


def test_nothing_known(monkeypatch) -> None:
    for name in ("_machine", "_group_1", "_group_2", "_process"):
        monkeypatch.setattr(memory, name, lambda: None)
    assert memory.available_memory() == 2 << 30
