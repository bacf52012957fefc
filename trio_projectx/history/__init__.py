"""History: bars of the past, page by page, checked, cut to the timeframe that was asked for; and what is known of time.

Everything but `fetch` and `service` is pure. Nothing here is on the way of live data.
"""

from __future__ import annotations
