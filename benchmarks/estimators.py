"""scikit-learn's estimators on the arrays of each library: other people's programs, as they are."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

import tilewright as tw
from benchmarks.measure import OURS, Aim, Contestant, Outcome, judge, race
from benchmarks.peers import Peer

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # SciPy reads it when it is first imported, which the peers may do

ROWS, COLUMNS, CLASSES = 100_000, 64, 3
LIBRARIES = ("numpy", "torch", OURS)  # what scikit-learn's dispatch knows, and we
AIM = Aim("best", 1 / 1.2)
TOLERANCE = 1e-2  # of the largest value: float32 sums over 100,000 rows, in whatever order, and what they lead to


def _pca(x: Any, labels: Any, target: Any) -> Any:
    from sklearn.decomposition import PCA

    return PCA(n_components=8).fit(x).explained_variance_


def _ridge(x: Any, labels: Any, target: Any) -> Any:
    from sklearn.linear_model import Ridge

    return Ridge(solver="svd").fit(x, target).coef_


def _discriminant(x: Any, labels: Any, target: Any) -> Any:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    return LinearDiscriminantAnalysis().fit(x, labels).means_


def _mixture(x: Any, labels: Any, target: Any) -> Any:
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(CLASSES, max_iter=5, tol=0, init_params="random_from_data", random_state=0)
    return model.fit(x).means_


ESTIMATORS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "PCA": _pca,
    "Ridge": _ridge,
    "LinearDiscriminantAnalysis": _discriminant,
    "GaussianMixture": _mixture,
}


def data(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (rows, COLUMNS) around three centres, the number of each one's centre, and a linear target."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, rows)
    centres = random.standard_normal((CLASSES, COLUMNS))
    x = (random.standard_normal((rows, COLUMNS)) + centres[labels]).astype(np.float32)
    return x, labels, (x @ random.standard_normal(COLUMNS)).astype(np.float32)


def available() -> bool:
    """Whether scikit-learn and what its dispatch needs are there."""
    return find_spec("sklearn") is not None and find_spec("array_api_compat") is not None


def run_estimator(name: str, peers: Sequence[Peer], rounds: int, judged: bool) -> Outcome:
    """Fit one estimator on each library's arrays of 100,000 points (2,000 where nothing is judged)."""
    import sklearn

    outcome = Outcome(f"{name}.fit, {ROWS if judged else 2000} x {COLUMNS}", {})
    arrays = data(ROWS if judged else 2000)
    fit, contestants = ESTIMATORS[name], []
    wanted: np.ndarray | None = None
    with sklearn.config_context(array_api_dispatch=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # five steps of a mixture do not converge, and need not
        for peer in (p for p in peers if p.library in LIBRARIES and p.name != "torch.compile"):
            run = partial(fit, *(peer.put(a) for a in arrays))
            try:
                found = np.asarray(run())
            except Exception as error:  # each library has its own; the others still race, and the report says it
                reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
                outcome.notes.append(f"{peer.name} failed: {reason}")
                outcome.broken |= peer.library == OURS
                continue
            wanted = found if wanted is None else wanted
            if not np.abs(found - wanted).max() <= TOLERANCE * np.abs(wanted).max():
                outcome.notes.append(f"{peer.name} is wrong, and is not timed")
                outcome.broken |= peer.library == OURS
                continue
            contestants.append(Contestant(peer.name, partial(_evaluated, run)))
        outcome.samples = race(contestants, rounds)
    if judged:
        outcome.verdicts = judge(outcome, [AIM])
    return outcome


def _evaluated(run: Callable[[], Any]) -> None:
    found = run()
    if isinstance(found, tw.Array):
        tw.eval(found)
