"""Providers in the admin and on the command line: one validation, one trial, and secrets are never shown."""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import translation

from accounts.models import ClaimMapping, GroupMapping, Identity, Upstream, UpstreamPicture, User
from accounts.upstreams.findings import Level, examine
from accounts.upstreams.protocols import PROTOCOLS
from authgate.models import AuditEvent
from tests.admin.conftest import browser_of, carols, sam  # noqa: F401
from tests.admin.forms import errors_in, messages_in, save
from tests.factories import GroupFactory, UpstreamFactory
from tests.uploads import SECRET, SVG, file, picture
from tests.upstreams.provider import OTHER_RSA_KEY, SHORT_RSA_KEY, Provider, jwk

LIST = "/admin/accounts/upstream/"


def page(upstream: Upstream) -> str:
    return f"{LIST}{upstream.pk}/change/"


def said(upstream: Upstream, level: Level) -> str:
    return " ".join(f.text for f in examine(upstream, PROTOCOLS) if f.level is level)


def command(*arguments: str) -> str:
    output = StringIO()
    call_command("upstream", *arguments, stdout=output)
    return output.getvalue()


def back_at_the_portal(upstream: Upstream, error: str = "login_required") -> Any:
    uri = f"https://sso.example.com/upstreams/{upstream.slug}/callback?error={error}"
    return (302, {"Location": uri}, b"")


# ---- the admin --------------------------------------------------------------------------------------------


def test_a_superuser_adds_a_provider(carols: Client) -> None:  # noqa: F811
    answer = save(
        carols,
        f"{LIST}add/",
        name="Campus",
        slug="campus",
        issuer="https://id.example.com",
        client_id="portal",
        client_secret="s3cr3t",
    )

    assert errors_in(answer) == "" and answer.status_code == 302
    assert Upstream.objects.get().client_secret.reveal() == "s3cr3t"


def test_a_secret_is_never_shown_again_and_an_empty_field_keeps_it(
    carols: Client,  # noqa: F811
    upstream: Upstream,
) -> None:
    shown = carols.get(page(upstream)).content.decode()

    save(carols, page(upstream), name="Renamed")

    kept = Upstream.objects.get()
    assert (kept.name, kept.client_secret.reveal()) == ("Renamed", "the client's secret")
    assert "client&#x27;s secret" not in shown and kept.client_secret.token not in shown


def test_a_secret_can_be_removed(carols: Client, upstream: Upstream) -> None:  # noqa: F811
    save(carols, page(upstream), remove_secret="on")

    assert not Upstream.objects.get().client_secret


def test_a_secret_is_not_sent_to_another_issuer(carols: Client, upstream: Upstream) -> None:  # noqa: F811
    answer = save(carols, page(upstream), issuer="https://evil.example.com")

    assert "enter the secret again" in errors_in(answer)


@pytest.mark.parametrize("client_id", ["portal", "second"])
def test_a_client_id_of_the_portal_is_refused_as_audience_for_programs(
    carols: Client,  # noqa: F811
    upstream: Upstream,
    client_id: str,
) -> None:
    UpstreamFactory(issuer=upstream.issuer, client_id="second")
    fields = {"trusted_for_machines": "on", "client_secret": "s3cr3t"}

    refused = save(carols, page(upstream), machine_audience=client_id, **fields)
    taken = save(carols, page(upstream), machine_audience="https://api.example.com", **fields)

    assert "client ID of the portal" in errors_in(refused)
    assert errors_in(taken) == "" and taken.status_code == 302


def test_an_audience_for_programs_is_refused_as_client_id(
    carols: Client,  # noqa: F811
    upstream: Upstream,
) -> None:
    UpstreamFactory(
        issuer=upstream.issuer, client_id="x", trusted_for_machines=True, machine_audience="https://api"
    )

    assert "already uses this audience for programs" in errors_in(
        save(carols, page(upstream), client_id="https://api")
    )


def test_no_secret_is_in_the_audit_trail(carols: Client, upstream: Upstream) -> None:  # noqa: F811
    save(carols, page(upstream), client_secret="another-s3cr3t")

    assert "client secret" in str(list(AuditEvent.objects.values())).lower()
    assert "s3cr3t" not in str(list(AuditEvent.objects.values()))


def test_staff_may_look_at_a_provider_but_not_change_it(
    sam: User,  # noqa: F811
    browser_of: Any,  # noqa: F811
    upstream: Upstream,
) -> None:
    sams = browser_of(sam)

    looked = sams.get(page(upstream))

    assert looked.status_code == 200 and "client_secret" not in looked.content.decode()
    assert sams.post(page(upstream), {"name": "Mine"}).status_code == 403
    assert sams.post(f"{LIST}add/", {}).status_code == 403
    assert sams.post(f"{LIST}{upstream.pk}/test/").status_code == 403
    assert sams.post(f"{LIST}{upstream.pk}/delete/", {"post": "yes"}).status_code == 403


def test_a_mapping_records_that_a_superuser_created_it(carols: Client, upstream: Upstream) -> None:  # noqa: F811
    group = GroupFactory(name="crew")

    save(
        carols,
        page(upstream),
        **{
            "group_mappings-TOTAL_FORMS": 1,
            "group_mappings-0-group": group.pk,
            "group_mappings-0-mode": "add",
        },
    )

    assert GroupMapping.objects.get().made_by_superuser


def test_staff_unlink_only_users_whom_they_may_change(
    sam: User,  # noqa: F811
    browser_of: Any,  # noqa: F811
    upstream: Upstream,
    alice: User,
    carol: User,
) -> None:
    of_alice = Identity.objects.create(upstream=upstream, subject="1", user=alice)
    of_carol = Identity.objects.create(upstream=upstream, subject="2", user=carol)
    sams = browser_of(sam)

    for identity in (of_alice, of_carol):
        sams.post(f"/admin/accounts/identity/{identity.pk}/delete/", {"post": "yes"})
    selection = {"action": "delete_selected", "_selected_action": [of_carol.pk], "post": "yes"}
    sams.post("/admin/accounts/identity/", selection)

    assert list(Identity.objects.all()) == [of_carol]


def test_the_list_makes_a_fixed_number_of_queries(
    carols: Client,  # noqa: F811
    upstream: Upstream,
    django_assert_max_num_queries: Any,
) -> None:
    with django_assert_max_num_queries(8):
        carols.get(LIST)


@pytest.mark.parametrize(("claim", "warned"), [("email", False), ("mail", True)])
def test_an_address_from_an_untrusted_claim_causes_a_warning(
    carols: Client,  # noqa: F811
    upstream: Upstream,
    claim: str,
    warned: bool,
) -> None:
    mapping = {"claim_mappings-0-claim": claim, "claim_mappings-0-field": "email"}

    answer = save(carols, page(upstream), **{"claim_mappings-TOTAL_FORMS": 1, **mapping})

    assert errors_in(answer) == "" and ClaimMapping.objects.get().claim == claim
    assert ("E-mail addresses are not used" in messages_in(carols)) is warned


# ---- pictures ---------------------------------------------------------------------------------------------


def shown_to(browser: Client) -> list[str]:
    """Return the addresses of the pictures on the sign-in page's buttons."""
    return re.findall(r'src="(/icons/providers/[^"]+)"', browser.get("/accounts/login/").content.decode())


def test_a_picture_is_encoded_again_and_shown_on_the_button(
    carols: Client,  # noqa: F811
    client: Client,
    upstream: Upstream,
    django_assert_num_queries: Any,
) -> None:
    Upstream.objects.update(icon="C")
    answer = save(carols, page(upstream), picture_file=picture())
    client.get("/accounts/login/")
    with django_assert_num_queries(1):
        [path] = shown_to(client)
    shown = client.get(path)

    assert errors_in(answer) == ""
    assert shown.content.startswith(b"RIFF") and SECRET.encode() not in shown.content
    assert shown["Content-Type"] == "image/webp" and shown["X-Content-Type-Options"] == "nosniff"
    assert shown["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert "public" in shown["Cache-Control"] and "Set-Cookie" not in shown
    assert path in carols.get(page(upstream)).content.decode()
    assert '<span class="icon"' not in client.get("/accounts/login/").content.decode()
    assert client.get("/icons/providers/0123").status_code == 404


def test_a_picture_is_replaced_and_removed(
    carols: Client,  # noqa: F811
    client: Client,
    upstream: Upstream,
) -> None:
    save(carols, page(upstream), picture_file=picture())
    first = shown_to(client)
    save(carols, page(upstream), name="Campus of Campusland")
    kept = shown_to(client)
    save(carols, page(upstream), picture_file=picture(size=(100, 100)))
    second = shown_to(client)
    save(carols, page(upstream), remove_picture="on")

    assert first == kept != second
    assert len(second) == 1 and shown_to(client) == []
    assert client.get(second[0]).status_code == 404


def test_a_picture_that_may_carry_scripts_is_refused(carols: Client, upstream: Upstream) -> None:  # noqa: F811
    answer = save(carols, page(upstream), picture_file=file(SVG, "icon.svg"))

    assert "Export it as PNG" in errors_in(answer)
    assert not UpstreamPicture.objects.exists()


def test_a_picture_is_deleted_with_its_provider(carols: Client, upstream: Upstream) -> None:  # noqa: F811
    save(carols, page(upstream), picture_file=picture())

    carols.post(f"{LIST}{upstream.pk}/delete/", {"post": "yes"})

    assert not Upstream.objects.exists() and not UpstreamPicture.objects.exists()


# ---- the trial --------------------------------------------------------------------------------------------


def test_the_admin_tests_a_provider(carols: Client, provider: Provider, upstream: Upstream) -> None:  # noqa: F811
    provider.answers["/authorize"] = back_at_the_portal(upstream)

    shown = carols.post(f"{LIST}{upstream.pk}/test/").content.decode()

    assert "accepts https://sso.example.com/upstreams/campus/callback" in shown
    assert 'class="error"' not in shown
    assert carols.get(f"{LIST}{upstream.pk}/test/").status_code == 405


def test_a_provider_that_refuses_short_parameters_passes_the_test(
    provider: Provider, upstream: Upstream
) -> None:
    """Authelia requires at least eight characters in `state` and `nonce`."""

    def authorize(handler: Any) -> None:
        asked = parse_qs(urlsplit(handler.path).query)
        is_short = any(len(asked[name][0]) < 8 for name in ("state", "nonce"))
        _, headers, _ = back_at_the_portal(upstream, "invalid_state" if is_short else "login_required")
        handler.send_response(302)
        handler.send_header("Location", headers["Location"])
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    provider.answers["/authorize"] = authorize

    assert "accepts https://sso.example.com" in said(upstream, Level.GOOD)


def test_a_good_provider_passes_the_test(provider: Provider, upstream: Upstream) -> None:
    provider.answers["/authorize"] = back_at_the_portal(upstream)

    assert said(upstream, Level.WRONG) == said(upstream, Level.DOUBTFUL) == ""


def clock_off(provider: Provider, upstream: Upstream) -> None:
    document = provider._metadata()
    import json

    later = formatdate(time.time() + 500, usegmt=True)
    content = json.dumps(document).encode()

    def answer(handler: Any) -> None:
        head = f"HTTP/1.1 200 OK\r\nDate: {later}\r\nContent-Length: {len(content)}\r\n\r\n"
        handler.wfile.write(head.encode() + content)

    provider.answers["/.well-known/openid-configuration"] = answer


WRONG: dict[str, tuple[Any, str]] = {
    "discovery missing": (
        lambda p, u: p.answers.update({"/.well-known/openid-configuration": (404, {}, b"")}),
        "404",
    ),
    "another issuer": (lambda p, u: p.metadata.update(issuer=f"{p.issuer}/"), "Both must match exactly."),
    "no token endpoint": (lambda p, u: p.metadata.update(token_endpoint=None), "token_endpoint"),
    "keys missing": (lambda p, u: p.answers.update({"/keys": (500, {}, b"")}), "Keys"),
    "no key of use": (lambda p, u: p.keys.__setitem__(0, jwk(SHORT_RSA_KEY, "one")), "no usable key"),
    "keys for encryption only": (
        lambda p, u: p.keys.__setitem__(0, jwk(OTHER_RSA_KEY, "one", use="enc")),
        "no usable key",
    ),
    "only HS256": (
        lambda p, u: p.metadata.update(id_token_signing_alg_values_supported=["HS256"]),
        "with an accepted algorithm.",
    ),
    "redirect URI unknown": (
        lambda p, u: p.answers.update({"/authorize": (400, {}, b"")}),
        "Register exactly https://sso.example.com/upstreams/campus/callback",
    ),
    "client refused": (
        lambda p, u: p.answers.update({"/authorize": back_at_the_portal(u, "unauthorized_client")}),
        "unauthorized_client",
    ),
    "clock": (clock_off, "seconds off"),
    "programs with the portal's client id as audience": (
        lambda p, u: Upstream.objects.update(trusted_for_machines=True, machine_audience="portal"),
        "their audience is a client ID",
    ),
    "down": (lambda p, u: p.stop(), "cannot be reached"),
}


@pytest.mark.parametrize(("bend", "told"), WRONG.values(), ids=WRONG)
def test_the_test_says_what_is_wrong(provider: Provider, upstream: Upstream, bend: Any, told: str) -> None:
    provider.answers["/authorize"] = back_at_the_portal(upstream)
    bend(provider, upstream)
    upstream.refresh_from_db()

    assert told in said(upstream, Level.WRONG)


@pytest.mark.parametrize(
    "fault", ["discovery missing", "another issuer", "keys missing", "only HS256", "down"]
)
def test_the_test_says_it_in_chinese(provider: Provider, upstream: Upstream, fault: str) -> None:
    WRONG[fault][0](provider, upstream)

    with translation.override("zh-hans"):
        told = said(upstream, Level.WRONG)

    assert "身份提供方" in told or "发现文档" in told
    assert not re.search(r"\b(the|provider|answered|is)\b", told)


# ---- the command ------------------------------------------------------------------------------------------


def test_the_command_adds_tests_and_lists_providers(provider: Provider, db: None, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from a file\n")

    told = command(
        "add", "oidc", "My Campus", "--issuer", provider.issuer, "--client-id", "portal",
        "--client-secret-file", str(secret), "--allow-private", "--trusted-email-domain", "example.com",
    )  # fmt: skip

    added = Upstream.objects.get()
    assert "my-campus was added" in told and "good  Keys: RS256" in told
    assert added.client_secret.reveal() == "from a file" and added.trusts_address("a@example.com")
    assert command("list").startswith("my-campus\toidc\tenabled\t")


def test_the_command_refuses_what_the_admin_refuses(db: None) -> None:
    with pytest.raises(CommandError, match="issuer: It must begin with https://"):
        command("add", "oidc", "Campus", "--issuer", "http://id.example.com", "--client-id", "portal")
    assert not Upstream.objects.exists()


def test_the_command_disables_and_enables(upstream: Upstream) -> None:
    command("disable", "campus")
    disabled = not Upstream.objects.get().enabled
    command("enable", "campus")

    assert disabled and Upstream.objects.get().enabled


def test_a_provider_that_does_not_work_fails_the_commands_test(
    provider: Provider, upstream: Upstream
) -> None:
    provider.stop()

    with pytest.raises(CommandError, match="cannot sign in"):
        command("test", "campus")


def test_an_unknown_name_is_reported(db: None) -> None:
    with pytest.raises(CommandError, match="upstream list"):
        command("disable", "nobody")


def test_the_form_shows_the_addresses_to_register(carols: Client, upstream: Upstream) -> None:  # noqa: F811
    page = carols.get(f"/admin/accounts/upstream/{upstream.pk}/change/").content.decode()

    for path in ("/upstreams/campus/callback", "/upstreams/campus/backchannel-logout", "/signed-out"):
        assert f"https://sso.example.com{path}<" in page


def test_the_command_enables_no_provider_that_the_admin_refuses(upstream: Upstream) -> None:
    Upstream.objects.update(enabled=False, allow_private=False)

    with pytest.raises(CommandError, match="https://"):
        command("enable", "campus")

    assert not Upstream.objects.get().enabled


def test_the_command_refuses_a_secret_that_is_not_text(tmp_path: Path, db: None) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"\xff\xfe")

    with pytest.raises(CommandError, match="holds no text"):
        command(
            "add", "oidc", "Campus", "--issuer", "https://id.example.com", "--client-id", "portal",
            "--client-secret-file", str(secret),
        )  # fmt: skip

    assert not Upstream.objects.exists()


# ---- the command changes and removes ----------------------------------------------------------------------


def test_the_command_changes_what_it_names_and_nothing_else(provider: Provider, upstream: Upstream) -> None:
    told = command(
        "change", "campus", "--name", "Main campus", "--no-create-users", "--link-by-email",
        "--trust-every-address", "--groups-claim", "groups", "--groups-prefix", "campus-",
        "--groups-pattern", "a-*", "--groups-pattern", "b", "--recheck-every", "300",
        "--machine-audience", "https://api.example.com", "--trusted-email-domain", "",
    )  # fmt: skip

    changed = Upstream.objects.get()
    assert "campus was changed: create_users, " in told
    assert (changed.name, changed.create_users, changed.linking) == ("Main campus", False, "email")
    assert changed.trusts_every_address and changed.recheck_every == 300
    assert (changed.groups_claim, changed.groups_prefix, changed.groups_pattern) == (
        "groups",
        "campus-",
        "a-*\nb",
    )
    assert (changed.trusted_for_machines, changed.machine_audience) == (True, "https://api.example.com")
    assert changed.trusted_email_domains == "" and changed.issuer == provider.issuer
    assert changed.client_secret.reveal() == "the client's secret"
    event = AuditEvent.objects.get(kind="changed")
    assert event.actor == "manage.py" and "groups_claim" in str(event.details)


def test_a_secret_comes_from_a_file_the_environment_or_standard_input(
    upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("from a file\n")
    monkeypatch.setenv("CAMPUS_SECRET", "from the environment")
    monkeypatch.setattr("sys.stdin", StringIO("from standard input\n"))
    seen = []
    for arguments in (
        ("--client-secret-file", str(tmp_path / "secret")),
        ("--client-secret-env", "CAMPUS_SECRET"),
        ("--client-secret-file", "-"),
        ("--remove-client-secret",),
    ):
        told = command("change", "campus", *arguments)
        seen.append(Upstream.objects.get().client_secret.reveal())
        assert "from" not in told and "from" not in str(list(AuditEvent.objects.values()))

    assert seen == ["from a file", "from the environment", "from standard input", ""]


REFUSED_CHANGES: dict[str, tuple[tuple[str, ...], str]] = {
    "nothing": ((), "Nothing to change"),
    "a setting of CAS": (("--server", "https://cas.example.com"), "--server is not for"),
    "another issuer without its secret": (
        ("--issuer", "https://evil.example.com"),
        "enter the client secret",
    ),
    "what the form refuses": (("--scopes", "profile"), "scopes: Include openid"),
    "the client id as audience": (("--machine-audience", "portal"), "client ID of the portal"),
    "a negative number": (("--recheck-every=-1",), "recheck_every"),
    "an absent file": (("--client-secret-file", "/nonexistent"), "cannot be read"),
    "an absent variable": (("--client-secret-env", "NO_SUCH"), "environment has no NO_SUCH"),
    "a domain that is none": (("--trusted-email-domain", "a b"), "Not a domain"),
    "two sources of a secret": (("--client-secret-env", "A", "--remove-client-secret"), "not allowed with"),
    "the secret as argument": (("--client-secret", "s3cr3t"), "ambiguous|unrecognized"),
}


@pytest.mark.parametrize(("arguments", "told"), REFUSED_CHANGES.values(), ids=REFUSED_CHANGES)
def test_the_command_changes_nothing_with(
    upstream: Upstream, arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Upstream.objects.values().get()

    with pytest.raises(CommandError, match=told):
        command("change", "campus", *arguments)
    assert Upstream.objects.values().get() == before


def test_a_setting_of_openid_connect_is_refused_for_cas(db: None) -> None:
    UpstreamFactory(kind="cas", slug="cas", server_url="https://cas.example.com", issuer="", client_id="")

    for arguments in (("--issuer", "https://id.example.com"), ("--client-secret-env", "HOME")):
        with pytest.raises(CommandError, match="not for a provider of the kind cas"):
            command("change", "cas", *arguments)


def test_a_provider_is_shown_without_its_secret(upstream: Upstream) -> None:
    shown = command("show", "campus")

    assert f"issuer\t{upstream.issuer}\n" in shown and "allow_private\tyes\n" in shown
    assert "client_secret\tset\n" in shown and "the client's secret" not in shown


def test_a_provider_is_removed_only_after_confirmation(upstream: Upstream, alice: User) -> None:
    Identity.objects.create(upstream=upstream, subject="1", user=alice)

    with pytest.raises(CommandError, match="1 links to users and 0 open sign-ins"):
        command("remove", "campus")
    assert Upstream.objects.exists()

    assert "campus was removed" in command("remove", "campus", "--yes")
    assert not Upstream.objects.exists() and not Identity.objects.exists()
    assert AuditEvent.objects.get(kind="deleted").subject == "Campus"
