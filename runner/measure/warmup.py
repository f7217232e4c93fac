"""When a side has stopped getting faster."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from runner.measure.statistics import robust_sd

#: Calls longer than this are judged over windows of SLOW_WINDOW blocks.
SLOW_CALL_S = 0.5
SLOW_WINDOW = 2
#: Ratio of the standard error of a median to that of a mean, for normal data.
_MEDIAN_SE = 1.2533


def is_steady(seconds: Sequence[float], window: int, tolerance: float) -> bool:
    """Is the median of the last `window` times no longer below that of the `window` before?

    `seconds` are times per call of one side in order. A fall counts when it exceeds both `tolerance` (relative) and
    twice the standard error that the scatter within the windows gives a difference of their medians.
    """
    width = SLOW_WINDOW if seconds and seconds[-1] > SLOW_CALL_S else window
    if len(seconds) < 2 * width:
        return False
    logs = np.log(np.asarray(seconds[-2 * width :]))
    before, after = logs[:width], logs[width:]
    fall = float(np.median(before) - np.median(after))
    scatter = robust_sd(np.concatenate((before - np.median(before), after - np.median(after))))
    return fall <= max(tolerance, 2 * _MEDIAN_SE * scatter * math.sqrt(2 / width))
