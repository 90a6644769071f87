from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from authgate.explain.decisions import described, event_of
from authgate.explain.explanation import contracts, explain
from authgate.explain.past import moment_from, world_at
from authgate.explain.persons import Person, UnknownPerson
from authgate.explain.question import BadQuestion, question_from
from authgate.explain.words import (
    as_text,
    as_values,
    fault_words,
    unknown_moment_words,
    unknown_person_words,
)
from authgate.explain.worlds import World
from authgate.journal.gaps import UnknownMoment


class Command(BaseCommand):
    help = "Explain which answer the check would give to a request, and why. Nothing is written."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("url", nargs="?", help="address that the browser or program requests")
        parser.add_argument("--decision", help="id of a refusal, in place of the address")
        parser.add_argument("--user", help="username; default: a visitor who is not signed in")
        parser.add_argument("--second-factor", action="store_true", help="the sign-in has a second factor")
        parser.add_argument("--token", default="", help="name of the user's API token that a program sends")
        parser.add_argument("--method", help="default: GET")
        parser.add_argument("--client", help="client address; default: 192.0.2.1")
        parser.add_argument("--proxy", choices=contracts(), help="default: nginx")
        parser.add_argument(
            "--query", default="", help="query of the check's URL in the proxy's configuration"
        )
        parser.add_argument("--script", action="store_true", help="a script or program asks, not a page")
        parser.add_argument(
            "--at", metavar="MOMENT", help="another moment, such as '2026-03-03 09:00'; default: now"
        )
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        known = self._known(options)
        url = options["url"] or known.get("url")
        if not url:
            raise CommandError("Name an address or a decision.")
        world = self._world(options["at"])
        user = options["user"] if options["user"] is not None else known.get("person", "")
        if options["token"] and not user:
            raise CommandError("Name the user of the API token.")
        try:
            question = question_from(
                url,
                method=options["method"] or known.get("method", "GET"),
                client=options["client"] or known.get("client") or "192.0.2.1",
                query=options["query"],
                navigates=not (options["script"] or options["token"]),
            )
            standing = world.standing_of(Person(user, options["second_factor"], options["token"]))
        except BadQuestion as problem:
            raise CommandError(f"{problem.field}: {fault_words(problem)}") from None
        except UnknownPerson as problem:
            raise CommandError(unknown_person_words(str(problem))) from None
        proxy = options["proxy"] or known.get("proxy") or "nginx"
        now = world.at.timestamp() if world.at else time.time()
        explanation = explain(question, standing, proxy if proxy in contracts() else "nginx", now, world)
        if options["json"]:
            self.stdout.write(json.dumps(as_values(explanation), indent=2, ensure_ascii=False))
        else:
            self.stdout.write(as_text(explanation))

    def _world(self, at: str | None) -> World:
        try:
            return world_at(moment_from(at) if at else None)
        except UnknownMoment as problem:
            raise CommandError(unknown_moment_words(problem)) from None
        except (ValueError, OverflowError):
            raise CommandError("--at: write a moment such as '2026-03-03 09:00'.") from None

    def _known(self, options: dict[str, Any]) -> dict[str, str]:
        if not options["decision"]:
            return {}
        event = event_of(options["decision"])
        if event is None:
            raise CommandError(
                "No refusal with this id is stored. The audit events contain refusals of users and visitors. "
                "The log also contains configuration mistakes. Allowed requests are not recorded."
            )
        return described(event)
