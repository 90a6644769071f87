#!/usr/bin/env python3
from __future__ import annotations

import os
import sys


def main() -> None:
    if sys.argv[1:] in (["version"], ["--version"]):  # Django would print its own
        from ikd_portal import __version__

        print(__version__)
        return
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ikd_portal.settings")
    from django.core.management import execute_from_command_line

    from authgate.journal.actor import acting_as_command

    with acting_as_command(sys.argv[1:]):
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
