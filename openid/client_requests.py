"""HTTP requests as the protocol reads them: raw bytes, never Django's parsed forms."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods

from accounts.second_factor.middleware import asks_for_factor
from authgate.models import Application
from authgate.peer import client_address, raw_headers
from authgate.prepared import PreparedLookup, column_names, instance_of
from openid import client_notes, standing, wrong_clients
from openid.client_keys import require_assertion
from openid.grants import digest
from openid.models import Client, ClientTrouble
from openid.protocol import parameters
from openid.protocol.client_authentication import Credentials, credentials_in
from openid.protocol.errors import ProtocolError, invalid_client
from openid.protocol.parameters import Parameters, Unreadable
from openid.standing import ClientFacts

FORM = "application/x-www-form-urlencoded"


def query_octets(request: HttpRequest) -> bytes:
    return str(request.META.get("QUERY_STRING", "")).encode("latin-1", "replace")


def form_octets(request: HttpRequest) -> bytes:
    """Return the body of a form. Raises Unreadable."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    if request.content_type != FORM or not length.isdecimal() or int(length) > parameters.LONGEST:
        raise Unreadable("the request is not a form, or is too long")
    try:
        return request.read(int(length))
    except OSError:
        raise Unreadable("the request is incomplete") from None


def form_of(request: HttpRequest) -> Parameters:
    """Return the form of a request that has no query. Raises ProtocolError.

    A client secret in a query would end up in logs (RFC 6749, section 2.3.1).
    """
    if request.META.get("QUERY_STRING"):
        raise ProtocolError("invalid_request", "parameters belong in the body")
    return parameters.parse(form_octets(request))


def authorization_of(request: HttpRequest) -> list[str]:
    headers = raw_headers(request)
    return [value.decode("latin-1") for name, value in headers if name == b"authorization"]


def _clients_named(client_id: str) -> QuerySet[Client, tuple[Any, ...]]:
    clients = Client.objects.filter(client_id=client_id, enabled=True, application__enabled=True)
    return clients.values_list(*column_names(Client), *column_names(Application, "application__"))[:1]


_CLIENTS_NAMED = PreparedLookup(_clients_named, str)


def client_named(client_id: str) -> Client | None:
    """Return an enabled client with its application. One query."""
    rows = _CLIENTS_NAMED.rows(client_id)
    if not rows:
        return None
    own = len(column_names(Client))
    client = instance_of(Client, rows[0][:own])
    client.application = instance_of(Application, rows[0][own:])
    return client


@dataclass(frozen=True, slots=True)
class Call:
    """A client's request: its form, its credentials and the address that it came from."""

    form: Parameters
    credentials: Credentials
    address: str


def call_of(request: HttpRequest) -> Call:
    """Return a client's call without any database query. Raises ProtocolError."""
    form, address = form_of(request), client_address(request) or ""
    credentials = credentials_in(authorization_of(request), form)
    wrong_clients.require_room(credentials, address)
    return Call(form, credentials, address)


def authenticated_client(call: Call, known: ClientFacts | None = None) -> ClientFacts:
    """Return the client that calls. Raises ProtocolError. One query, or none if `known` is that client.

    A confidential client must send its secret or use its key. A public client must send neither. A client
    with keys cannot authenticate by a secret.
    """
    credentials = call.credentials
    is_known = known is not None and known.client_id == credentials.client_id
    client = known if is_known else standing.client_named(credentials.client_id)
    if client is None or not client.is_enabled:
        wrong_clients.note_wrong(call.address)
        raise invalid_client("the client is unknown, or its secret is wrong")
    try:
        _authenticate(client, credentials)
    except ProtocolError as error:
        wrong_clients.note_wrong(call.address)
        client_notes.note_trouble(client.pk, ClientTrouble.Kind.AUTHENTICATION, error.description)
        raise
    wrong_clients.note_right(credentials)
    return client


def _authenticate(client: ClientFacts, credentials: Credentials) -> None:
    if client.is_public:
        if credentials.method != "none":
            raise invalid_client("the client is public: it has no secret")
        return
    if client.has_keys != (credentials.method == "private_key_jwt"):
        raise invalid_client("the client does not authenticate in this way")
    if client.has_keys:
        require_assertion(client, credentials.secret)
        return
    hashed = digest(credentials.secret)
    if not credentials.secret or hashed not in client.secrets:
        raise invalid_client("the client is unknown, or its secret is wrong")
    client_notes.note_use(hashed)


def answer(body: Mapping[str, Any], status: int = 200) -> HttpResponse:
    """Return JSON that caches must not store (RFC 6749, section 5.1)."""
    response = HttpResponse(json.dumps(body), status=status, content_type="application/json")
    response["Cache-Control"] = "no-store"
    response["Pragma"] = "no-cache"
    return response


def error_answer(error: ProtocolError) -> HttpResponse:
    body = {"error": error.error, "error_description": error.description} if error.error else {}
    response = answer(body, error.status)
    if error.challenge:
        response["WWW-Authenticate"] = error.challenge
    if error.retry_after:
        response["Retry-After"] = str(error.retry_after)
    return response


View = Callable[[HttpRequest], HttpResponse]


def for_clients(*methods: str) -> Callable[[View], View]:
    """Wrap an endpoint that clients call without cookies: errors are JSON, and nothing is cached."""

    def decorate(view: View) -> View:
        @wraps(view)
        def inner(request: HttpRequest) -> HttpResponse:
            try:
                return view(request)
            except ProtocolError as error:
                return error_answer(error)

        made: View = csrf_exempt(never_cache(require_http_methods(methods)(sensitive_variables()(inner))))
        return asks_for_factor(made)

    return decorate
