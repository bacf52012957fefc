"""Who is on a hub connection."""

from __future__ import annotations

import attrs


@attrs.frozen(slots=True)
class Identity:
    """Who is connected, and how."""

    connection_id: str
    hub: str
    user: str
    token_from: str
