"""A record played again: through the same pipelines, validators and builders as live.

`files` reads a journal (or a Parquet file) batch by batch in a thread (`ahead`); `frames` plays what a hub sent, with
the marks between; `trades` plays valid trades and quotes; `stage` stands where a gateway has its hubs and its service.
"""

from __future__ import annotations
