"""The ``trio-projectx`` command; its libraries come with the extra ``cli``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; the exit code is 0, 1 for an error that was told, 75 without memory, 130 after Ctrl-C."""
    try:
        from trio_projectx.cli.app import run
    except ModuleNotFoundError as exc:
        if exc.name is not None and exc.name.startswith("trio_projectx"):
            raise
        sys.exit(f"the command line needs {exc.name}: pip install 'trio-projectx[cli]'")
    sys.exit(run(sys.argv[1:]))
