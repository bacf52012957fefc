"""History: bars of the past, page by page, checked, cut to the timeframe that was asked for; and what is known of time.

`fetch` asks the service, `store` and `files` the disk, in threads of `levels`; what decides is pure. Nothing here is on
the way of live data.
"""

from __future__ import annotations
