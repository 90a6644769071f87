"""A program that reads a line of JSON for each site, and prints a line with the findings.

Run as a program beside a portal, with its environment: `python -m tests.doctor.examining`.
"""

from __future__ import annotations

import json
import os
import sys

import django

django.setup()

from authgate.doctor.examination import examine_origin  # noqa: E402


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        os.environ["SSL_CERT_FILE"] = asked["certificate"]
        found = examine_origin(asked["origin"], tuple(asked["paths"]), at=asked["at"])
        print(json.dumps([finding.as_values() for finding in found]), flush=True)


if __name__ == "__main__":
    main()
