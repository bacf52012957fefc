"""The journal: what came in, on disk, so that it can be played again; written beside the live path, never in it.

The way: a recorder takes what is handed to it into a bounded queue and returns at once (`recorder`); a thread appends
it to segments, which are Arrow IPC streams whose every batch is followed by a check sum (`segment`, `writer`); a
finished segment becomes Parquet (`seal`); `scan` reads both. Only `recorder` knows trio.
"""

from __future__ import annotations
