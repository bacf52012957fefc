"""How dense a sweep is: `nox -s whole` takes every place, the suite every third to fifth, other ones for each kind."""

from __future__ import annotations

import os
from typing import Final

IS_WHOLE: Final = bool(os.environ.get("TRIO_PROJECTX_WHOLE"))


def every(step: int) -> int:
    """Return ``step``, or 1 where everything is to be swept."""
    return 1 if IS_WHOLE else step
