"""Where progress is shown: bars on a terminal, lines in logs and notebooks, or nothing."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from pvae_neuro.utils import progress
from pvae_neuro.utils.progress import no_stages, shown_advance, shown_stages


class Terminal(io.StringIO):
    """Standard error of a person."""

    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(progress, "_clock", found)
    return found


@pytest.fixture
def notebook(monkeypatch):
    class ZMQInteractiveShell:
        pass

    class IPython:
        get_ipython = staticmethod(ZMQInteractiveShell)

    monkeypatch.setitem(sys.modules, "IPython", IPython)


def work(clock, asked, stages=(("read", 3.0), ("count", 40.0), ("write", 0.5)), prefix=""):
    """Stages of four parts each, which take so many seconds in all."""
    with shown_stages(asked, prefix) as tell:
        for name, seconds in stages:
            for part in range(4):
                clock.now += seconds / 4
                tell(name, part + 1, 4)


LINES = """\
read: 3.0 s
count: 25 %, about 30 s left
count: 50 %, about 20 s left
count: 75 %, about 10 s left
count: 40.0 s
"""


def test_lines_now_and_then(clock, capsys):
    work(clock, True)
    assert capsys.readouterr() == ("", LINES)
    work(clock, True, (("read", 3.0),), "images: ")
    assert capsys.readouterr().err == "images: read: 3.0 s\n"


def test_a_stage_of_many_parts_prints_few_lines(clock, capsys):
    with shown_advance(True, "run", 1000) as advance:
        for _ in range(1000):
            clock.now += 0.05
            advance(1)
    assert capsys.readouterr().err.splitlines() == [
        "run: 20 %, about 40 s left",
        "run: 40 %, about 30 s left",
        "run: 60 %, about 20 s left",
        "run: 80 %, about 10 s left",
        "run: 50.0 s",
    ]


def test_no_time_is_told_from_the_first_bit_of_the_work(clock, capsys):
    with shown_stages(True) as tell:
        clock.now = 60.0
        tell("run", 0, 1000)
        clock.now = 80.0
        tell("run", 1, 1000)
        clock.now = 120.0
        tell("run", 500, 1000)
    assert capsys.readouterr().err.splitlines() == [
        "run: 0 %",
        "run: 0 %",
        "run: 50 %, about 120 s left",
    ]


@pytest.mark.parametrize("asked", [None, False])
def test_a_script_whose_output_goes_elsewhere_shows_nothing(asked, clock, capsys):
    work(clock, asked)
    assert capsys.readouterr() == ("", "")


def test_a_notebook_shows_lines_and_a_function_gets_all(notebook, clock, capsys):
    work(clock, None)
    assert capsys.readouterr().err == LINES
    work(clock, False)
    told = []
    work(clock, lambda *args: told.append(args), (("read", 1.0),))
    assert told == [("read", part, 4) for part in (1, 2, 3, 4)]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("asked", [None, True])
def test_a_terminal_shows_a_bar(asked, clock, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    work(clock, asked, (("[read]", 3.0),), "images: ")
    assert "images: [read]" in screen.getvalue()
    assert "100%" in screen.getvalue()
    work(clock, False)
    assert screen.getvalue().count("read") == screen.getvalue().count("[read]")


def test_calls_within_a_call_show_nothing(clock, capsys):
    with shown_stages(True) as outer:
        with shown_stages(True) as inner, shown_advance(True, "inner", 1):
            assert inner is no_stages
        assert outer is not no_stages
    with shown_stages(True) as after:
        assert after is not no_stages
    assert capsys.readouterr() == ("", "")


def test_without_a_standard_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with shown_stages(True) as tell:
        assert tell is no_stages


def test_nothing_is_loaded_where_no_bar_is_shown():
    code = (
        "import sys; from pvae_neuro.utils.progress import shown_stages\n"
        "with shown_stages(True) as tell: tell('a', 1, 1)\n"
        "assert not {'rich', 'IPython'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
