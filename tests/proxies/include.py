"""Copy the files of deploy/ into the documentation: `python -m tests.proxies.include`."""

from __future__ import annotations

import re

from tests.proxies.test_docs import PAGES, ROOT

MARKER = re.compile(r"(<!-- (\S+) -->\n```\w+\n).*?```", re.DOTALL)


def main() -> None:
    for page in PAGES:
        page.write_text(
            MARKER.sub(lambda match: f"{match[1]}{(ROOT / match[2]).read_text()}```", page.read_text())
        )


if __name__ == "__main__":
    main()
