"""The configuration of traces: whether they are enabled and can be sent. Imports nothing of OpenTelemetry."""

from __future__ import annotations

from importlib.util import find_spec

from django.conf import settings

PACKAGES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")
PROTOCOL = "http/protobuf"


def is_on() -> bool:
    """Return whether traces are enabled and can be sent."""
    return is_wanted() and not what_is_missing()


def is_wanted() -> bool:
    """Return whether OpenTelemetry's environment variables name a collector and do not disable traces."""
    return bool(settings.IKD_TRACES_ENDPOINT) and not settings.IKD_TRACES_OFF


def what_is_missing() -> str:
    """Return why enabled traces cannot be sent, and the fix; empty if they can be sent."""
    if settings.IKD_TRACES_PROTOCOL != PROTOCOL:
        return f"OTEL_EXPORTER_OTLP_PROTOCOL must be {PROTOCOL}, is {settings.IKD_TRACES_PROTOCOL!r}"
    if not all(map(_is_installed, PACKAGES)):
        return "OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry is missing: install ikd-portal[traces]"
    return ""


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # a parent package is missing
        return False
