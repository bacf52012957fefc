"""The ``trio-projectx`` command; its libraries come with the extra ``cli``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; its exit code is returned to the shell.

    0 is well, 1 an error that was told, 2 arguments that could not be read, 3 a check of ``doctor`` that failed,
    75 a lack of memory, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP.
    """
    try:
        from trio_projectx.cli.app import run
    except ModuleNotFoundError as exc:
        if exc.name is not None and exc.name.startswith("trio_projectx"):
            raise
        sys.exit(f"the command line needs {exc.name}: pip install 'trio-projectx[cli]'")
    sys.exit(run(sys.argv[1:]))
