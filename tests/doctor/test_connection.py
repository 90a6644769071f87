"""The doctor connects only to allowed addresses, for a limited time, and reads a limited response head."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from authgate.doctor import connection
from authgate.doctor.connection import Unreachable, place_of_backend, place_of_origin

REQUEST = b"GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n"


@pytest.fixture
def answering() -> Iterator[Callable[[bytes], int]]:
    """Return a function that starts a server, which answers with some bytes, and returns its port."""
    listeners: list[socket.socket] = []

    def serve(octets: bytes) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def answer() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(4096)
                client.sendall(octets)
                client.shutdown(socket.SHUT_WR)
                with suppress(ConnectionResetError):
                    client.recv(1)

        threading.Thread(target=answer, daemon=True).start()
        return int(listener.getsockname()[1])

    yield serve
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize(
    ("origin", "networks", "reason"),
    [
        ("https://127.0.0.1", [], "private address"),
        ("https://10.1.2.3", [], "private address"),
        ("https://[::1]", ["127.0.0.0/8"], "private address"),
        ("https://[::ffff:10.0.0.1]", [], "private address"),
        ("https://[64:ff9b::a00:1]", [], "private address"),
        ("https://169.254.169.254", ["0.0.0.0/0"], "nobody's address"),
        ("https://[::ffff:169.254.169.254]", ["0.0.0.0/0", "::/0"], "nobody's address"),
        ("https://0.0.0.0", ["0.0.0.0/0"], "nobody's address"),
        ("https://name.invalid", ["0.0.0.0/0"], "unknown name"),
    ],
)
def test_a_private_address_is_not_connected_to(
    origin: str, networks: list[str], reason: str, settings: Any
) -> None:
    settings.IKD_DOCTOR_NETWORKS = networks

    with pytest.raises(Unreachable, match=reason):
        place_of_origin(origin)


def test_an_address_given_with_at_is_checked_too(settings: Any) -> None:
    settings.IKD_DOCTOR_NETWORKS = []

    with pytest.raises(Unreachable, match="private address"):
        place_of_origin("https://app.example.com", at="127.0.0.1")


def test_a_redirect_is_not_followed(answering: Callable[[bytes], int], settings: Any) -> None:
    settings.IKD_DOCTOR_NETWORKS = ["127.0.0.0/8"]
    port = answering(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n")

    reply = place_of_backend(f"127.0.0.1:{port}").ask(REQUEST)

    assert reply is not None and reply.status == 302
    assert (reply.own_address, reply.proxy_address) == ("127.0.0.1", "127.0.0.1")


@pytest.mark.parametrize(
    "octets",
    [b"", b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"x" * 200_000],
    ids=["nothing", "empty", "half a head", "another protocol", "no status", "endless head"],
)
def test_a_malformed_response_counts_as_none(
    octets: bytes, answering: Callable[[bytes], int], settings: Any
) -> None:
    settings.IKD_DOCTOR_NETWORKS = ["127.0.0.0/8"]

    assert place_of_backend(f"127.0.0.1:{answering(octets)}").ask(REQUEST) is None


def test_a_slow_server_does_not_delay_a_run_beyond_the_limit(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.IKD_DOCTOR_NETWORKS = ["127.0.0.0/8"]
    monkeypatch.setattr(connection, "ANSWER_WITHIN", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert place_of_backend(f"127.0.0.1:{listener.getsockname()[1]}").ask(REQUEST) is None


def test_a_closed_port_is_unreachable(settings: Any) -> None:
    settings.IKD_DOCTOR_NETWORKS = ["127.0.0.0/8"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(Unreachable, match="refused"):
        place_of_backend(f"127.0.0.1:{port}").ask(REQUEST)
