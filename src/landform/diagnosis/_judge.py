"""The model behind a diagnosis: several kinds of classifier on features free of scale, averaged and calibrated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from landform.diagnosis._columns import LABELS
from landform.diagnosis._failures import answers
from landform.diagnosis._features import features, shared
from landform.diagnosis._level import levelled
from landform.diagnosis._md_tree import md_tree
from landform.diagnosis._table import Table
from landform.errors import BadInput

Numbers = NDArray[np.float64]

# A member that is sure of something it has seen a few times only must not outvote the others.
_SUREST = 0.01
_REGIONS = 8
_FEWEST = 8
_TREES = 200


@dataclass(frozen=True)
class Answers:
    """Answers to one question, one for each row of a table and in its order.

    Attributes:
        question: one of `LABELS`.
        prediction: ``[rows]``, one of the question's two answers.
        probability: that the prediction is right, ``[rows]``, at least 0.5.
        first: probability of the question's first answer, ``[rows]``.
    """

    question: str
    prediction: NDArray[Any]
    probability: Numbers
    first: Numbers


@dataclass(frozen=True)
class Judge:
    """A model that answers one question from measures on training data.

    Attributes:
        question: one of `LABELS`.
        measures: what it looks at.
        members: fitted classifiers, each on all features.
        slope: by what the mean log-odds of the members are multiplied, so that probabilities come true.
        seen: features of the networks on which it was fitted, ``[networks, features]``.
    """

    question: str
    measures: tuple[str, ...]
    members: tuple[Any, ...]
    slope: float
    seen: Numbers

    def answer(self, table: Table, *, together: bool = False) -> Answers:
        """Answer the question for each row of a table.

        Args:
            table: with the measures.
            together: take the rows for one grid of networks, as diverse as those seen but perhaps of another data set
                or noisier labels, and bring its features in line with theirs (`levelled`); else rows know nothing of
                one another. Never for data-or-batch: an amount of data moves a whole grid just so, and is the answer.

        Returns:
            The answers.

        Raises:
            BadInput: when a measure is missing.
        """
        table.need(*self.measures)
        names, values = features(table, self.measures)
        if together and "flat" in names and self.question != "data-or-batch":
            flat = names.index("flat")
            rest = [place for place in range(len(names)) if place != flat]
            here, there = values[:, flat] == 1, self.seen[:, flat] == 1
            values[:, rest] = levelled(values[:, rest], self.seen[:, rest], here, there)
        first = _sigmoid(self.slope * _log_odds(self.members, values))
        one, other = LABELS[self.question]
        return Answers(self.question, np.where(first >= 0.5, one, other), np.maximum(first, 1 - first), first)


def learn(table: Table, question: str, *, measures: Sequence[str] | None = None, seed: int = 0) -> Judge:
    """Fit a model on networks whose failure is known.

    It looks at measures on training data alone: neither at how the networks were trained nor at test data, which only
    speak through the known answers. The log-odds of its members (`_members`) are averaged; one number stretches them
    so that probabilities come true on regions of the features that were left out of the fit.

    Args:
        table: measured networks with answers: a column that tells them, or a grid from which they follow.
        question: one of `LABELS`.
        measures: what to look at; whatever of `USED` the table has by default.
        seed: of what is random in the members.

    Returns:
        The model.

    Raises:
        BadInput: when there are too few answers, or all are the same.
    """
    right = answers(table, question)
    one, other = LABELS[question]
    known = (right == one) | (right == other)
    chosen = tuple(measures) if measures is not None else shared(table)
    y = (right == one)[known]
    if min(int(y.sum()), int((~y).sum())) < _FEWEST:
        raise BadInput(
            f"{table.source} has {int(y.sum())} networks with answer {one} and {int((~y).sum())} with {other}: give at "
            f"least {_FEWEST} of each."
        )
    x = features(table.where(known), chosen)[1]
    members = _fitted(x, y, seed)
    return Judge(question, chosen, members, _slope(x, y, seed), x)


def answer_table(
    reference: Table,
    table: Table,
    question: str,
    *,
    method: Literal["ensemble", "md-tree"] = "ensemble",
    together: bool = True,
    seed: int = 0,
) -> Answers:
    """Learn from one table, answer a question for each row of another.

    Args:
        reference: networks whose failure is known.
        table: measured networks.
        question: one of `LABELS`.
        method: ``"ensemble"``, or ``"md-tree"`` for the published tree, whose probability is the share of its answers
            that are right on the reference.
        together: take the table's rows for one grid (see `Judge.answer`); the tree does not.
        seed: of what is random in the model.

    Returns:
        The answers, in the order of the table's rows.

    Raises:
        BadInput: when the tables share too few measures, or there are too few answers to learn from.
    """
    if method == "ensemble":
        judge = learn(reference, question, measures=shared(reference, table), seed=seed)
        return judge.answer(table, together=together)
    right = answers(reference, question)
    tree = md_tree(reference, right, question)
    one, other = LABELS[question]
    known = (right == one) | (right == other)
    told, before = tree.predict(table), tree.predict(reference)
    sure = np.where(told == one, *((before == right)[known & (before == name)].mean() for name in (one, other)))
    sure = np.clip(np.nan_to_num(sure, nan=0.5), 0.5, 1.0)
    return Answers(question, told, sure, np.where(told == one, sure, 1 - sure))


def _members(rows: int, seed: int, trees: int) -> list[Any]:
    """Classifiers that err in different ways.

    Smooth ones carry over to networks unlike those seen, where trees only repeat the nearest; trees follow steps such
    as that between sharp and flat.
    """
    from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    def piped(*steps: Any) -> Any:
        return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), *steps)

    squares = PolynomialFeatures(2, include_bias=False)
    bumps = Nystroem(gamma=0.05, n_components=min(90, rows), random_state=seed)
    forest = ExtraTreesClassifier(trees, min_samples_leaf=2, max_features=4, random_state=seed)
    boosted = HistGradientBoostingClassifier(
        max_iter=trees // 2, learning_rate=12 / trees, min_samples_leaf=8, l2_regularization=1.0, random_state=seed
    )
    return [
        piped(StandardScaler(), LogisticRegression(C=0.5, max_iter=3000)),
        piped(StandardScaler(), squares, StandardScaler(), LogisticRegression(C=0.05, max_iter=3000)),
        piped(StandardScaler(), bumps, LogisticRegression(C=10.0, max_iter=3000)),
        piped(forest),
        piped(boosted),
    ]


def _fitted(x: Numbers, y: NDArray[np.bool_], seed: int, trees: int = _TREES) -> tuple[Any, ...]:
    return tuple(member.fit(x, y) for member in _members(len(y), seed, trees))


def _log_odds(members: Sequence[Any], x: Numbers) -> Numbers:
    each = [np.clip(member.predict_proba(x)[:, 1], _SUREST, 1 - _SUREST) for member in members]
    found: Numbers = np.mean([np.log(p / (1 - p)) for p in each], axis=0)
    return found


def _slope(x: Numbers, y: NDArray[np.bool_], seed: int) -> float:
    """Stretch of the log-odds that gives the likeliest answers on networks that were left out.

    They are left out by regions of the features and at random: what is asked may be unlike all that is known, or may
    have neighbours among it, and probabilities should come true in both cases.
    """
    from scipy.optimize import minimize_scalar

    signed: list[Numbers] = []
    for inside in (*_regions(x, seed), *_parts(len(y), seed)):
        outside = ~inside
        if min(y[outside].sum(), (~y[outside]).sum()) >= 2:
            odds = _log_odds(_fitted(x[outside], y[outside], seed, _TREES // 4), x[inside])
            signed.append(np.where(y[inside], odds, -odds))
    if not signed:
        return 1.0
    every = np.concatenate(signed)

    def surprise(log_slope: float) -> float:
        # Each network was left out twice. A weak pull towards 1 keeps a few lucky ones from making the model certain.
        return float(np.logaddexp(0.0, -np.exp(log_slope) * every).sum() / 2 + log_slope**2)

    return float(np.exp(minimize_scalar(surprise, bounds=(-2.5, 1.5), method="bounded").x))


def _parts(rows: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    place = np.random.default_rng(seed).permutation(rows) % 5
    for part in range(5):
        yield place == part


def _regions(x: Numbers, seed: int) -> Iterator[NDArray[np.bool_]]:
    """Neighbourhoods of the features, each to be left out once: what is new is unlike what is known."""
    from sklearn.cluster import KMeans
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import StandardScaler

    filled = SimpleImputer(strategy="median", keep_empty_features=True).fit_transform(x)
    plain = StandardScaler().fit_transform(filled)
    count = min(_REGIONS, len(x) // 8)
    labels = KMeans(max(count, 2), n_init=3, random_state=seed).fit_predict(plain)
    for region in range(int(labels.max()) + 1):
        yield labels == region


def _sigmoid(values: Numbers) -> Numbers:
    return 1.0 / (1.0 + np.exp(-np.clip(values, -50.0, 50.0)))
