"""What many tasks wait for at once, and what it came to."""

from __future__ import annotations

import trio

from trio_projectx._errors import TrioProjectXError, again


class Outcome:
    """Happens once. Who has begun to wait gets it, whatever happens after it."""

    def __init__(self) -> None:
        self._done = trio.Event()
        self._error: TrioProjectXError | None = None

    def succeed(self) -> None:
        """It went well."""
        self._done.set()

    def fail(self, error: TrioProjectXError) -> None:
        """It did not."""
        self._error = error
        self._done.set()

    async def wait(self) -> None:
        """Return when it went well; raise what it failed of."""
        await self._done.wait()
        if self._error is not None:
            raise again(self._error)
