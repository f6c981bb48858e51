"""Linear classification of codes: accuracy, and shattering dimension."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.utils.optional import require
from pvae_neuro.utils.progress import Advance, no_advance

Codes = NDArray[np.floating[Any]]
Labels = NDArray[np.int64]


def logistic_accuracy(
    train: Codes,
    train_labels: Labels,
    test: Codes,
    test_labels: Labels,
    *,
    scaled: bool = False,
    penalty: float = 1.0,
    iterations: int = 100,
) -> float:
    """Accuracy, between 0 and 1, of a logistic regression on codes [N, K].

    The defaults are scikit-learn's, on codes as they are: IterativeVAE ``analysis/linear.py``,
    ``clf_score``, which takes exp(u) of Poisson neurons and the (rectified) means of Gaussian ones;
    PoissonVAE ``analysis/clf.py``, ``clf_analysis``. Its L-BFGS ends after 100 iterations, mostly
    before it has converged, so accuracies of codes in different units do not quite compare.

    Parameters
    ----------
    train, test : float [N, K]
    train_labels, test_labels : int64 [N]
    scaled : bool
        Divide all codes by the root mean square of the training ones, so that ``penalty`` means the
        same for codes in any unit. The authors do not.
    penalty : float
        scikit-learn's ``C``, the inverse strength of the L2 penalty.
    iterations : int
        Limit of L-BFGS.

    Raises
    ------
    InputError
        If numbers of codes and labels differ, or there are fewer than two classes to learn.
    """
    classifier = logistic_classifier(
        train, train_labels, scaled=scaled, penalty=penalty, iterations=iterations
    )
    return classifier(test, test_labels)


def logistic_classifier(
    train: Codes,
    train_labels: Labels,
    *,
    scaled: bool = False,
    penalty: float = 1.0,
    iterations: int = 100,
) -> Callable[[Codes, Labels], float]:
    """Fit the regression of :func:`logistic_accuracy` once; the accuracy on codes and labels."""
    _check(train, train_labels, "training")
    if len(np.unique(train_labels)) < 2:
        raise InputError(
            f"training labels: expected at least two classes, got {len(np.unique(train_labels))}"
        )
    models = require("sklearn.linear_model", "experiments", "classification")
    exceptions = require("sklearn.exceptions", "experiments", "classification")
    unit = 1.0
    if scaled:
        unit = float(np.sqrt(np.mean(np.square(train, dtype=np.float64)))) or 1.0
    regression = models.LogisticRegression(C=penalty, max_iter=iterations)
    with warnings.catch_warnings():
        # Stopping early is intended: accuracy settles long before the weights do.
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        regression.fit(train / unit, train_labels)

    def accuracy(test: Codes, test_labels: Labels) -> float:
        _check(test, test_labels, "test")
        return float(regression.score(test / unit, test_labels))

    return accuracy


def shattering_dimension(
    train: Codes,
    train_labels: Labels,
    test: Codes,
    test_labels: Labels,
    *,
    advance: Advance = no_advance,
) -> float:
    """Mean accuracy of logistic regressions that tell one half of the classes from the other.

    There are 126 balanced splits of ten classes. PoissonVAE ``analysis/clf.py``, ``clf_analysis``
    with ``mode="shatter"`` goes through 252, each split and its mirror image, which changes the
    time and not the mean.

    Parameters
    ----------
    train, test : float [N, K]
    train_labels, test_labels : int64 [N]
    advance : callable
        Takes the splits done since its last call.

    Raises
    ------
    InputError
        If the number of classes is odd, or numbers of codes and labels differ.
    """
    found = []
    for half in balanced_splits(train_labels):
        sides = (np.isin(labels, half).astype(np.int64) for labels in (train_labels, test_labels))
        train_side, test_side = sides
        found.append(logistic_accuracy(train, train_side, test, test_side))
        advance(1)
    return float(np.mean(found))


def balanced_splits(labels: Labels) -> Iterator[tuple[int, ...]]:
    """Yield one half of the classes for each way to halve them.

    Raises
    ------
    InputError
        If the number of classes is odd or zero.
    """
    classes = [int(each) for each in np.unique(labels)]
    if not classes or len(classes) % 2:
        raise InputError(
            f"labels: expected an even number of classes, to halve them, got {len(classes)}"
        )
    first, others = classes[0], classes[1:]
    # The first class stays on one side: each split comes once.
    for rest in combinations(others, len(classes) // 2 - 1):
        yield (first, *rest)


def _check(codes: Codes, labels: Labels, which: str) -> None:
    if codes.ndim != 2 or len(codes) != len(labels):
        raise InputError(
            f"{which} codes: expected [N, K] with N labels, got codes of shape {codes.shape} and "
            f"{len(labels)} labels"
        )
