"""Times as people write them, in flags and annotations."""

import math
import re

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float | None:
    """Seconds, more than 0, of `60`, `60s`, `500ms`, `5m` or `1h`; None for anything else."""
    found = _DURATION.fullmatch(text)
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    return seconds if 0 < seconds < math.inf else None
