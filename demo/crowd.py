"""A company of 300 people for pictures of the admin's lists. Set Django up before importing this module.

Every run creates the same rows, so that pictures of two versions can be compared.
"""

from __future__ import annotations

import hashlib
import random
from datetime import datetime, timedelta
from typing import Any

from allauth.account.models import EmailAddress
from django.contrib.auth.models import Group
from django.db import transaction
from django.utils import timezone

from accounts.models import ApiToken, Identity, Invitation, RememberedDevice, Upstream, User
from authgate.models import Application, AuditEvent, ConfigurationEvent, GateSession, Origin, Rule, SignIn

TITLES = ("Grafana", "Wiki", "工单系统", "Artifact registry for the northern region")
PEOPLE, APPLICATIONS, SIGN_INS, EVENTS = 300, 60, 900, 3_000

FIRST = "Ada Ben Chloe Daniel Elif Frank Grace Hugo Ines Jonas Kira Liam Mona Nils Olga Pavel Quinn Rosa"
LAST = (
    "Abernathy Bergström Castillo Dubois Eriksen Fernández Grünwald Haddad Ivanova Jensen Kowalczyk Lindqvist"
)
CHINESE_NAMES = ["王秀英", "李伟", "张敏", "刘洋", "陈静", "杨帆", "赵磊", "黄婷", "周杰", "欧阳娜娜"]
GROUPS = (
    "staff-all",
    "engineering",
    "finance",
    "sales",
    "support",
    "marketing",
    "design",
    "legal",
    "people-and-culture",
    "grafana-readers",
    "grafana-editors",
    "grafana-admins",
    "wiki-editors",
    "wiki-readers",
    "git-developers",
    "git-maintainers",
    "builds",
    "releases",
    "on-call",
    "incident-commanders",
    "data-science",
    "data-engineering",
    "contractors of the northern region (until the end of the year)",
    "external auditors with read access to every financial system",
    "a-group-whose-name-has-no-space-at-all-and-goes-on-for-quite-some-time",
    "研发部",
    "财务部",
    "人力资源与行政管理部",
    "上海分公司",
    "测试环境只读访问权限",
    "产品设计",
    "warehouse",
    "fleet",
    "cafeteria",
    "reception",
    "facilities",
    "travel",
    "security-team",
    "works-council",
    "procurement",
    "translators",
    "trainees",
    "alumni",
    "board",
)
AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 "
    "Safari/537.36 Edg/156.0.0.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 "
    "Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:149.0) Gecko/20100101 Firefox/149.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/26.1 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Mobile "
    "Safari/537.36",
    "Mozilla/5.0 (Linux; Android 16; SM-S931B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/29.0 "
    "Chrome/136.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 15; 23127PN0CC; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 "
    "Chrome/130.0.0.0 Mobile Safari/537.36 MicroMessenger/8.0.60(0x28003C3F) NetType/WIFI Language/zh_CN",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "curl/8.14.1",
    "git/2.51.0",
    "python-requests/2.34.2",
    "<script>alert(1)</script> \"><img src=x onerror=alert(2)> ' OR 1=1 --",
    "Zvijezda " * 33,
    "\u202egpj.exe \u2066hidden\u2069 \u200b/1.0",
    "",
)
CONFIGURATION = (
    ("nginx", "x-forwarded-uri missing", 0),
    ("nginx", "unknown origin", 1),
    ("traefik", "the portal's own origin", 2),
    ("traefik", "peer is no trusted proxy", None),
    ("caddy", "unknown parameter in the check's URL", 3),
    ("haproxy", "host of several applications", 4),
    ("envoy", "request target", None),
    ("ingress-nginx", "x-forwarded-proto, which ingress-nginx never sends", None),
    ("ingress-nginx", "host of x-original-url is not the one that is served", 5),
    ("oauth2 nginx", "x-scheme doubled", 6),
    ("nginx", "header names with underscores or dots pass the proxy", None),
    ("caddy", "identity headers too long", 7),
    ("nginx", "path", 8),
)


def create() -> None:
    """Create the people, their groups and applications, and all events."""
    with transaction.atomic():
        Company(random.Random(11)).create()


class Company:
    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.now = timezone.now()

    def create(self) -> None:
        self.groups = [Group.objects.get_or_create(name=name)[0] for name in GROUPS]
        self.people = self._people()
        self.applications = self._applications()
        self.providers = self._providers()
        self._sign_ins()
        self._tokens_and_invitations()
        self._events()
        self._configuration_events()

    def _people(self) -> list[User]:
        made = []
        for number in range(PEOPLE):
            name = f"{self.dice.choice(FIRST.split())} {self.dice.choice(LAST.split())}"
            if number % 9 == 4:
                name = self.dice.choice(CHINESE_NAMES)
            username = f"{name.lower().replace(' ', '.')}{number}" if name.isascii() else f"person{number}"
            user = User(
                username=username,
                display_name=name,
                email=f"{username}@{'engineering.northern-region.' if number % 17 == 0 else ''}example.com",
                is_active=number % 23 != 0,
                is_staff=number % 40 == 1,
                last_login=self._some_time(200) if number % 7 else None,
            )
            user.set_unusable_password()
            made.append(user)
        people = User.objects.bulk_create(made)
        EmailAddress.objects.bulk_create(
            EmailAddress(user=user, email=user.email, verified=True, primary=True) for user in people
        )
        membership: Any = User.groups.through
        membership.objects.bulk_create(
            membership(user=user, group=group)
            for number, user in enumerate(people)
            for group in self.dice.sample(self.groups, 12 if number % 6 == 0 else self.dice.randrange(5))
        )
        return people

    def _applications(self) -> list[Application]:
        made = []
        for number in range(APPLICATIONS):
            application = Application.objects.create(
                name=f"{TITLES[number % 4]} {number}",
                category=("", "Engineering", "Finance", "每日必用")[number % 4],
                enabled=number % 13 != 0,
            )
            for other in range(1 + number % 5):
                host = f"{('tool', 'very-long-name-of-a-department')[number % 2]}{number}-{other}.example.org"
                port = ":8443" if other == 3 else ""
                Origin.objects.create(application=application, value=f"https://{host}{port}")
            for path in ("/", "/admin", "/api")[: 1 + number % 3]:
                Rule.objects.create(application=application, path=path).groups.add(
                    self.groups[number % len(self.groups)]
                )
            made.append(application)
        return made

    def _providers(self) -> list[Upstream]:
        names = ("Company directory", "Partners of the northern region", "GitLab", "学校统一身份认证")
        made = [
            Upstream.objects.create(
                kind=Upstream.Kind.CAS if number == 3 else Upstream.Kind.OIDC,
                name=name,
                slug=f"provider-{number}",
                issuer="" if number == 3 else f"https://id{number}.example.com/realms/company",
                server_url="https://cas.example.com/cas" if number == 3 else "",
                client_id="portal",
                order=number,
            )
            for number, name in enumerate(names)
        ]
        Identity.objects.bulk_create(
            Identity(
                upstream=made[number % 4],
                subject=(hashlib.sha256(user.username.encode()).hexdigest(), user.username)[number % 2],
                user=user,
                last_used_at=self._some_time(90),
            )
            for number, user in enumerate(self.people[:120])
        )
        return made

    def _sign_ins(self) -> None:
        made = []
        for number in range(SIGN_INS):
            started = self._some_time(120 if number % 3 else 1)
            made.append(
                SignIn(
                    user=self.dice.choice(self.people),
                    started_at=started,
                    last_seen_at=min(started + timedelta(minutes=self.dice.randrange(600)), self.now),
                    expires_at=started + timedelta(hours=30),
                    idle_timeout=86_400,
                    ended_at=started + timedelta(hours=2) if number % 4 == 0 else None,
                    address=self._address(number),
                    user_agent=AGENTS[number % len(AGENTS)][:300],
                    methods=["password", "totp"][: 1 + number % 2],
                )
            )
        rows = SignIn.objects.bulk_create(made)
        origins = list(Origin.objects.values_list("value", flat=True))
        GateSession.objects.bulk_create(
            GateSession(
                sign_in=row,
                origin=self.dice.choice(origins),
                token_digest=self.dice.randbytes(32),
                created_at=row.started_at,
                ended_at=row.ended_at,
            )
            for row in rows
        )
        RememberedDevice.objects.bulk_create(
            RememberedDevice(
                user=row.user,
                token_digest=self.dice.randbytes(32),
                user_agent=row.user_agent,
                address=row.address,
                created_at=row.started_at,
                expires_at=self.now + timedelta(days=30),
            )
            for row in rows[:100]
        )

    def _tokens_and_invitations(self) -> None:
        for number in range(80):
            token = ApiToken.objects.create(
                user=self.people[number],
                name=("backup", "nightly build of the artifact registry", "备份脚本", "grafana")[number % 4],
                token_digest=self.dice.randbytes(32),
                created_at=self._some_time(300),
                expires_at=self.now + timedelta(days=number - 20),
                last_used_at=self._some_time(9) if number % 3 else None,
                ended_at=self._some_time(5) if number % 9 == 0 else None,
            )
            token.applications.set(self.dice.sample(self.applications, 1 + number % 8))
            invitation = Invitation.objects.create(
                token_digest=self.dice.randbytes(32),
                email=f"newcomer{number}@partners.northern-region.example.net" if number % 5 else "",
                made_by=self.people[1],
                created_at=self._some_time(40),
                expires_at=self.now + timedelta(days=number % 14),
                used_at=self._some_time(10) if number % 2 else None,
                used_by=self.people[number] if number % 2 else None,
            )
            invitation.groups.set(self.dice.sample(self.groups, number % 4))

    def _events(self) -> None:
        made = []
        for number in range(EVENTS):
            person, application = self.dice.choice(self.people), self.dice.choice(self.applications)
            kind, facts = self._what_happened(number, person, application)
            at, address = self._some_time(60 if number % 4 else 1), self._address(number)
            made.append(AuditEvent(kind=kind, at=at, address=address, **facts))
        AuditEvent.objects.bulk_create(made)

    def _what_happened(
        self, number: int, person: User, application: Application
    ) -> tuple[str, dict[str, Any]]:
        name = person.username
        own = {"actor": name, "subject": name}
        changes = [
            {"changed": {"fields": ["Groups", "Display name"]}},
            {"added": {"name": "e-mail address", "object": "new@example.com"}},
        ]
        about = {"object": "accounts.user", "key": person.pk, "changes": changes}
        refused = {
            "actor": name,
            "application": application.name,
            "decision_id": self.dice.randbytes(6).hex(),
            "reason": ("no rule admits", "no rule covers the path", "application disabled")[number % 3],
            "details": {
                "contract": "nginx",
                "method": "GET",
                "url": "https://tool1-0.example.org/admin/users",
                "failed": [[1, "group"], [2, "network"]],
            },
        }
        provider = {"details": {"upstream": "provider-0", "blame": "broken"}}
        table: tuple[tuple[str, dict[str, Any]], ...] = (
            ("sign_in", {**own, "details": {"methods": ["password", "totp"], "keep": True}}),
            ("sign_in_failed", {"subject": name, "reason": "wrong password"}),
            ("sign_in_failed", {"reason": "unknown account"}),
            ("sign_in_limited", {"reason": "too many attempts"}),
            ("refused", refused),
            ("changed", {"actor": "carol", "subject": name, "details": about}),
            ("sign_out", {"subject": name, "reason": "back-channel logout by the provider", **provider}),
            ("upstream_failed", {"reason": "the ID token belongs to another attempt (nonce)", **provider}),
            ("upstream_not_asked", {"reason": "the token endpoint answered with status 503", **provider}),
            ("factors_reset", {"actor": "carol", "subject": name, "details": {"factors": ["totp"]}}),
            ("token_made", {**own, "details": {"name": "backup", "applications": [application.name]}}),
            ("password_changed", {"subject": name, "reason": "by a link in a mail"}),
        )
        return table[number % len(table)]

    def _configuration_events(self) -> None:
        for number, (contract, reason, application) in enumerate(CONFIGURATION):
            origin = "" if application is None else f"https://tool{application * 2}-0.example.org"
            ConfigurationEvent.objects.create(
                contract=contract,
                origin="https://intranet.example.com" if reason == "unknown origin" else origin,
                reason=reason,
                count=7**number % 40_000 + 1,
                first_at=self.now - timedelta(days=30),
                last_at=self.now - timedelta(hours=number * 5),
            )

    def _some_time(self, days: int) -> datetime:
        return self.now - timedelta(seconds=self.dice.randrange(days * 86_400))

    def _address(self, number: int) -> str:
        if number % 5 == 0:
            return f"2001:db8:85a3:8d3:1319:8a2e:370:{number:x}"
        return f"203.0.113.{number % 250}"
