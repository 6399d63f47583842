"""One forecast out of many: each member weighs as much as its recent past deserves.

Weights fall exponentially with a member's mean absolute error over the rolling origins (Vovk, "Aggregating
strategies", 1990; the same form as Akaike weights). Members that err alike share the weight, a clear winner takes it
all; no member has to be trusted beforehand.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SHARPNESS = 30.0  # a member that errs 10 % more than the best weighs a twentieth of it


def weights(actual: Floats, members: Floats) -> Floats:
    """Shape (members,), summing to 1.

    `actual`: shape (origins, leads), NaN where not known; `members`: shape (members, origins, leads).
    """
    known = np.isfinite(actual)
    if not known.any():
        return np.full(len(members), 1 / len(members))
    errors = np.abs(np.where(known, actual - members, 0.0)).sum(axis=(1, 2))
    best = errors.min()
    excess = errors / best - 1.0 if best > 0 else np.where(errors > 0, np.inf, 0.0)
    raw = np.exp(-SHARPNESS * excess)
    return np.asarray(raw / raw.sum())


def combined(shares: Floats, members: Floats) -> Floats:
    """The weighted mean over the first axis."""
    return np.asarray(np.tensordot(shares, members, axes=1))
