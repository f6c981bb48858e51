"""Generated bad values for every option of every verb, and for every field of every file.

    python tests/bad_values.py [--cases N] [--seed S] [--only TEXT] [--part I/N]

Each case is a command that runs in a child of its own, in a folder of small files. It must end with
one line that begins with ``error:`` and names what is wrong, and with exit code 2, within five
seconds of processor time, and leave every file as it was. A damaged field may also happen to be a
right one: then the command may do its work, but never end with exit code 70.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from bad_case import Case, Folder, run_case
from bad_files import file_cases, make_folder
from bad_options import COMMANDS, LONG, option_cases

_MODULES = """
matplotlib.figure numba onnxruntime PIL.Image rich.console rich.progress scipy.io torch
pvae_neuro.cli.shared.engines pvae_neuro.cli.shared.inputs pvae_neuro.cli.shared.progress
pvae_neuro.cli.shared.tables pvae_neuro.data.folder pvae_neuro.data.patches
pvae_neuro.evaluation.evaluate pvae_neuro.export pvae_neuro.models.sizes pvae_neuro.plots.model
pvae_neuro.saved.iterative_vae pvae_neuro.training.train pvae_neuro.verification.report
pvae_neuro.zoo
"""


def preload() -> None:
    """Import what verbs import, so that children need not."""
    # Children are forked: threads of OpenMP would be missing there, and be waited for.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for module in _MODULES.split():
        import_module(module)
    # Children that collect garbage would copy all memory.
    gc.freeze()


def right_cases() -> list[Case]:
    """The commands without anything bad: each must end well, or it would hide what is wrong."""
    return [
        Case("nothing bad", f"{verb} as it is", (verb, *given))
        for verb, given in COMMANDS.items()
        if verb not in LONG
    ]


def all_cases(folder: Path) -> list[Case]:
    """Every case that is generated."""
    return [*option_cases(), *file_cases(folder)]


def draw(cases: Sequence[Case], number: int, seed: int) -> list[Case]:
    """Cases drawn at random, of each kind as many as of every other."""
    by_kind = defaultdict(list)
    for case in random.Random(seed).sample(cases, len(cases)):
        by_kind[case.kind].append(case)
    ranked = [(rank, case) for group in by_kind.values() for rank, case in enumerate(group)]
    return [case for _, case in sorted(ranked, key=lambda each: each[0])][:number]


def run_all(cases: Sequence[Case], files: Folder) -> tuple[Counter[str], Counter[str]]:
    """Run cases, print what is wrong; numbers of cases by kind, and of those that end wrongly."""
    run: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for number, case in enumerate(cases, 1):
        wrong = run_case(case, files)
        for line in wrong:
            print(f"{case.name!r}: {line}", flush=True)
        run[case.kind] += 1
        failed[case.kind] += bool(wrong)
        if number % 250 == 0:
            print(f"{number} of {len(cases)}", file=sys.stderr, flush=True)
    return run, failed


def check_right(files: Folder) -> list[str]:
    """Commands without anything bad that do not end well."""
    found = []
    for case in right_cases():
        lines = run_case(case, files)
        if not lines or not lines[0].startswith("exit code 0"):
            found.append(f"{case.name!r}: {lines or 'is refused'}")
    return found


def main() -> int:
    """Run cases and print those that end wrongly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, help="so many, drawn at random; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--only", default="", help="those whose kind or name contains this")
    parser.add_argument("--part", default="1/1", help="the I-th of N parts")
    parser.add_argument("--list", action="store_true", help="print kinds and numbers alone")
    options = parser.parse_args()
    preload()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_folder(folder)
        every = [c for c in all_cases(folder) if options.only in f"{c.kind}: {c.name}"]
        part, parts = map(int, options.part.split("/"))
        cases = draw(every, options.cases or len(every), options.seed)[part - 1 :: parts]
        if options.list:
            run, failed, wrong = Counter(case.kind for case in cases), Counter[str](), []
        else:
            files = Folder(folder)
            wrong = check_right(files)
            run, failed = run_all(cases, files)
    for kind, number in sorted(run.items()):
        print(f"{kind:32}{number:6}{failed[kind]:6} wrong")
    print(*wrong, sep="\n", end="\n" if wrong else "")
    print(f"{run.total()} cases: {run.total() - failed.total()} end as they should, "
          f"{failed.total()} do not")  # fmt: skip
    return 1 if failed.total() or wrong else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main())
