"""Entry point of `python -m ikd_portal`, which is the command `ikd-portal`."""

from __future__ import annotations

from ikd_portal.cli import main

if __name__ == "__main__":
    main()
