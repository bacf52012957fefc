"""``python -m trio_projectx`` is the ``trio-projectx`` command."""

from __future__ import annotations

from trio_projectx.cli import main

if __name__ == "__main__":
    main()
