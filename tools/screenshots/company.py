"""A year in the company of `demo.crowd`: usage, requests, reviews, proxy tests, clients and lockdowns."""

from __future__ import annotations

import random
import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accounts.models import User
    from authgate.models import Application

APPLICATION = "Artifact registry for the northern region 7"
"""The application on pages about a single application. Its owner is alice."""

DAYS = 45


def create(keys: dict[str, int]) -> None:
    """Create the crowd and its year. Add to `keys` the rows of pages about a single object."""
    from django.db import connection, transaction

    from authgate.journal.actor import acting
    from demo import crowd

    crowd.create()
    with acting(lambda: "carol"), transaction.atomic():
        Year(random.Random(5), keys).create()
    connection.close()


class Year:
    def __init__(self, dice: random.Random, keys: dict[str, int]) -> None:
        from django.utils import timezone

        from accounts.models import User
        from authgate.models import Application

        self.dice, self.keys, self.now = dice, keys, timezone.now()
        self.carol, self.alice = (User.objects.get(username=name) for name in ("carol", "alice"))
        self.people: list[User] = list(User.objects.filter(is_active=True).order_by("pk"))
        self.application: Application = Application.objects.get(name=APPLICATION)

    def create(self) -> None:
        self._delegation()
        self._requests_for_access()
        self._usage()
        self._trials()
        self._review()
        self._proxy_tests()
        self._clients()
        self._lockdowns()
        self._drift()
        self._changes()
        self.keys["company application"] = self.application.pk

    def _delegation(self) -> None:
        from django.contrib.auth.models import Group

        from accounts.models import ManagedGroup
        from authgate.models import Application, Rule

        rule = self.application.rules.get(path="/")
        rule.groups.add(*Group.objects.filter(name__contains=" "))
        rule.users.add(*self.people[10:14])
        Rule.objects.create(
            application=self.application,
            path="/repository/maven/releases/org/example/northern-region/very-long-artifact-name",
            methods="PUT, DELETE",
            networks="10.0.0.0/8",
            second_factor=True,
            note="Uploads of the release managers only",
        ).groups.set(Group.objects.filter(name="releases"))
        for application in (self.application, *Application.objects.filter(name="Wiki")):
            application.owners.add(self.alice)
            application.shareable_groups.add(*Group.objects.filter(name__in=("releases", "研发部")))
        for name in ("incident-commanders", "contractors of the northern region (until the end of the year)"):
            managed = ManagedGroup.objects.create(group=Group.objects.get(name=name))
            managed.managers.set([self.alice])
            self.keys["managed group"] = managed.pk
        self.keys["managed rule"] = rule.pk

    def _requests_for_access(self) -> None:
        from accounts.models import AccessRequest

        answers: tuple[dict[str, Any], ...] = (
            {},
            {"answer": "granted", "answer_words": "Until the audit is over.", "until": self._in(20)},
            {"answer": "declined", "answer_words": "Please ask your team lead first."},
            {"answer": "granted", "answer_words": ""},
        )
        for number in range(24):
            row = AccessRequest.objects.create(
                application=self.application,
                rule=self.application.rules.first(),
                user=self.people[60 + number],
                path="/repository/maven/releases/org/example" if number % 3 == 0 else "/",
                words=("For the month's end", "", "我需要下载上个季度的构建产物,以便核对发布清单。")[
                    number % 3
                ],
                asked_at=self._ago(number / 3),
                **answers[number % 4],
                **({"answered_at": self._ago(number / 4), "answered_by": "alice"} if number % 4 else {}),
            )
            if number == 0:
                self.keys["request"] = row.pk
            if number == 1:
                self.keys["answered request"] = row.pk

    def _usage(self) -> None:
        from authgate.models import Application, RequestCount

        rows = []
        today = self.now.date()
        for application in Application.objects.prefetch_related("rules")[:70]:
            rules = list(application.rules.all())
            for person in self.dice.sample(self.people, 25):
                for ago in self.dice.sample(range(DAYS), 2):
                    is_refused = self.dice.random() < 0.15
                    rows.append(
                        RequestCount(
                            day=today - timedelta(days=ago),
                            application=application,
                            person=person.pk,
                            rule=self.dice.choice(rules).pk if rules else 0,
                            method=self.dice.choice(("GET", "GET", "POST")),
                            allowed=0 if is_refused else self.dice.randrange(1, 400),
                            refused=self.dice.randrange(1, 9) if is_refused else 0,
                        )
                    )
        RequestCount.objects.bulk_create(rows, ignore_conflicts=True)

    def _trials(self) -> None:
        from authgate.models import Rule, TrialCount
        from authgate.worker.loader import load_trials

        watch = Rule.objects.create(
            application=self.application, path="/admin", only_watch=True, note="Only for administrators?"
        )
        Rule.objects.create(application=self.application, path="/metrics", only_watch=True)
        [trial] = [each for each in load_trials([self.application.pk]) if each.rule == watch.pk]
        for number, person in enumerate([0, *(each.pk for each in self.people[:40])]):
            for change in (("none",), ("none", "refused"), ("none", "admitted"), ("left out",))[number % 4]:
                TrialCount.objects.create(
                    rule=watch.pk,
                    version=trial.version,
                    day=(self.now - timedelta(days=number % 9)).date(),
                    person=person,
                    change=change,
                    count=self.dice.randrange(1, 90),
                )

    def _review(self) -> None:
        from accounts.access_reviews import reviews
        from accounts.models import AccessReview
        from authgate.models import Application

        review = reviews.begin(self.application, by="carol")
        assert review is not None
        self.keys["review"] = review.pk
        for number, entry in enumerate(review.entries.order_by("pk")[:12]):
            entry.answer = "remove" if number % 4 == 3 else "keep"
            entry.answered_at, entry.answered_by = self._ago(1), "alice"
            if number % 4 == 3:
                entry.task_open, entry.remaining = True, entry.reasons
            entry.save()
        AccessReview.objects.filter(pk=review.pk).update(began_at=self._ago(36))
        for name in ("Wiki", "Grafana 4"):
            reviews.begin(Application.objects.get(name=name), by="carol")

    def _proxy_tests(self) -> None:
        from authgate.models import Application, DoctorReport

        line = "location = /authgate/callback { auth_request off; include ikd/ask.conf; }"
        origins = list(self.application.origins.values_list("value", flat=True))
        findings = [
            {
                "test": test,
                "level": level,
                "reason": reason,
                "values": values,
                "line": shown,
                "origin": origin,
            }
            for origin in origins[:2]
            for test, level, reason, values, shown in (
                ("protected", "fail", "unchecked", {"path": "/repository", "status": "200"}, line),
                ("clock", "warn", "skew", {"seconds": "40"}, ""),
                ("paths", "pass", "", {}, ""),
            )
        ]
        DoctorReport.objects.create(
            application=self.application, at=self._ago(0.1), level="fail", findings=findings
        )
        DoctorReport.objects.create(
            application=Application.objects.get(name="Grafana 4"),
            at=self._ago(0.1),
            level="pass",
            findings=[],
        )

    def _clients(self) -> None:
        from authgate.models import Application, SignIn
        from openid.models import Client, ClientSecret, ClientTrouble, Consent, Grant, LogoutDelivery

        for number, application in enumerate(Application.objects.order_by("pk")[:20]):
            client = Client.objects.create(
                application=application,
                client_id=f"northern-region-{number}" if number % 4 else secrets.token_hex(10),
                kind=Client.Kind.PUBLIC if number % 5 == 4 else Client.Kind.CONFIDENTIAL,
                redirect_uris=f"https://tool{number}.example.com/oauth2/callback/with/a/long/path",
                scopes="openid profile email groups offline_access",
                asks_consent=number == 1,
                allows_devices=number == 4,
                enabled=number != 7,
            )
            ClientSecret.objects.create(client=client, digest=secrets.token_bytes(32))
            if number == 1:
                self.keys["client"] = client.pk
                ClientSecret.objects.create(
                    client=client, digest=secrets.token_bytes(32), expires_at=self._in(3)
                )
                ClientTrouble.objects.create(
                    client=client,
                    kind="redirect_uri",
                    detail="https://tool1.example.com/other",
                    first_at=self._ago(2),
                    last_at=self._ago(0.2),
                )
        sign_in = SignIn.objects.create(
            user=self.alice,
            started_at=self._ago(1),
            last_seen_at=self.now,
            expires_at=self._in(1),
            idle_timeout=86_400,
            address="198.51.100.7",
            methods=["password"],
        )
        for number, client in enumerate(Client.objects.order_by("pk")[1:4]):
            Consent.objects.create(
                user=self.alice, client=client, scopes="openid profile email", given_at=self._ago(9)
            )
            Grant.objects.create(
                client=client,
                sign_in=sign_in,
                sid=f"session-{number}",
                subject=str(self.alice.uuid),
                scopes="openid profile email groups",
                auth_time=self.now,
                acr="1fa",
                created_at=self._ago(1),
                ended_at=self.now if number else None,
            )
        LogoutDelivery.objects.create(
            uri="https://tool2.example.com/logout",
            audience=Client.objects.order_by("pk")[2].client_id,
            subject=str(self.alice.uuid),
            sid="session-1",
            allow_private=False,
            created_at=self._ago(0.1),
            due_at=self.now,
            tries=2,
            answer="status 503",
        )

    def _lockdowns(self) -> None:
        from accounts.lockdown import lock_down_application, lock_down_user
        from authgate.models import Application

        person = self.people[30]
        lock_down_user(person, by="carol")
        locked = Application.objects.get(name="Grafana 12")
        lock_down_application(locked, by="carol")
        self.keys["locked user"], self.keys["locked application"] = person.pk, locked.pk
        Application.objects.filter(name="Files").update(
            maintenance=True, maintenance_text="We move to faster disks. Back at noon.\n中午恢复。"
        )

    def _drift(self) -> None:
        from authgate.models import Application
        from ikd_portal.models import ManagedObject

        for name in ("Tickets", "Invoices", APPLICATION):
            ManagedObject.objects.create(
                kind="application",
                name=name,
                object_key=Application.objects.get(name=name).pk,
                applied={"description": "As the file says."},
            )

    def _changes(self) -> None:
        from authgate.models import JournalEntry

        rule = self.application.rules.get(path="/admin", only_watch=False) if self._has_admin() else None
        if rule is not None:
            rule.second_factor, rule.note = True, "After the audit"
            rule.save()
        self.alice.groups.add(*self.people[0].groups.all())
        self.keys["change"] = JournalEntry.objects.filter(actor="carol").latest("pk").pk

    def _has_admin(self) -> bool:
        return self.application.rules.filter(path="/admin", only_watch=False).exists()

    def _ago(self, days: float) -> datetime:
        return self.now - timedelta(days=days)

    def _in(self, days: float) -> datetime:
        return self.now + timedelta(days=days)
