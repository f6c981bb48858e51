"""Shared paths and fixtures."""

from __future__ import annotations

import os
import random
import signal
import sys
from itertools import groupby
from pathlib import Path

# Tests run side by side: threads of their own would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell that starts tests in the background has them ignore Ctrl-C, and with them the programs
# that they start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


sys.path.insert(0, str(Path(__file__).parent))


def pytest_addoption(parser):
    parser.addoption(
        "--shuffle", type=int, metavar="SEED", help="run files, and the tests of each, in any order"
    )
    parser.addoption(
        "--all-extremes",
        action="store_true",
        help="test_extreme_models.py: every file, where a fixed sample is usual",
    )


def pytest_collection_modifyitems(config, items):
    """Shuffle files and the tests in each; a file stays together, for it shares fixtures."""
    seed = config.getoption("--shuffle")
    if seed is not None:
        order = random.Random(seed)
        files = [list(tests) for _, tests in groupby(items, lambda item: item.path)]
        order.shuffle(files)
        for tests in files:
            order.shuffle(tests)
        items[:] = [test for tests in files for test in tests]
