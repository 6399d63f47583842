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
# Of a season (a day: 1 h, 3 h, 9 h): leads up to each, and those beyond the last, are weighed apart. What is soon goes
# by the level of now, what is far by the time of day: measured (docs/benchmarks.md).
SPANS = (1 / 24, 1 / 8, 3 / 8)


def weights(actual: Floats, members: Floats, season: int) -> Floats:
    """Shape (members, leads): of each lead summing to 1.

    `actual`: shape (origins, leads), NaN where not known; `members`: shape (members, origins, leads); `season`: in
    leads.
    """
    leads = actual.shape[1]
    ends = [*(end for share in SPANS if 0 < (end := round(share * season)) < leads), leads]
    spans = [slice(begin, end) for begin, end in zip([0, *ends], ends, strict=False)]
    return np.concatenate(
        [np.repeat(_weights(actual[:, s], members[:, :, s])[:, None], s.stop - s.start, axis=1) for s in spans], axis=1
    )


def _weights(actual: Floats, members: Floats) -> Floats:
    known = np.isfinite(actual)
    if not known.any():
        return np.full(len(members), 1 / len(members))
    errors = np.array([np.abs(np.where(known, actual - member, 0.0)).sum() for member in members])
    best = errors.min()
    excess = errors / best - 1.0 if best > 0 else np.where(errors > 0, np.inf, 0.0)
    raw = np.exp(-SHARPNESS * excess)
    return np.asarray(raw / raw.sum())


def combined(shares: Floats, members: Floats) -> Floats:
    """The weighted mean over the first axis: shape (origins, leads).

    `members`: shape (members, origins, leads). Leads beyond those of `shares` are weighed as its last one.
    """
    beyond = max(0, members.shape[2] - shares.shape[1])
    shares = np.pad(shares, ((0, 0), (0, beyond)), mode="edge")[:, : members.shape[2]]
    return np.asarray(np.einsum("ml,mol->ol", shares, members))
