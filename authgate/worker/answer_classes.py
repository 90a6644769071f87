"""The kind of an answer to a check and the class of its reason, for metrics and the access log."""

from __future__ import annotations

from authgate import counters
from authgate.check.responses import Answer

TOKEN, NEITHER = ("allowed", "api_token"), ("allowed", "other")

REASONS = {
    "no rule admits": "no_rule_admits",
    "no rule covers the path": "no_rule_covers_the_path",
    "application disabled": "application_disabled",
    "path cannot be read safely": "path_cannot_be_read",
    "second factor": "second_factor",
    "recent second factor": "second_factor",
    "passkey": "second_factor",
    "wrong credential": "wrong_credential",
    "allowed_groups": "filter",
    "allowed_emails": "filter",
    "allowed_email_domains": "filter",
}
"""The class of each reason for a refusal. All others count as `other`."""


def class_of(found: Answer) -> tuple[str, str]:
    """Return the kind of an answer, and the class of its reason."""
    refusal = found.refusal
    if refusal is not None:
        is_configuration = refusal.is_configuration
        return "refused", "configuration" if is_configuration else REASONS.get(refusal.reason, counters.OTHER)
    if found.status == 200:
        if found.sign_in_id is not None:
            return counters.SESSION
        return NEITHER if found.token_id is None else TOKEN
    if found.status in (302, 303, 401):
        return "sign_in", "not_signed_in"
    return ("unavailable", "") if found.status == 503 else (counters.OTHER, "")
