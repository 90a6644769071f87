"""Counts sign-ins by OpenID Connect as a user's requests to the client's application.

A worker's thread writes the counts in batches, as it does for checks.
"""

from __future__ import annotations

from authgate.check.tally import ALLOWED, ASKED, REFUSED
from authgate.decision.rules import Verdict
from authgate.worker.tallies import OPENID
from authgate.worker.usage import tallies
from authgate.worker.write_behind import writer
from openid.policy import Ruling

OUTCOMES = {
    Verdict.ALLOW: ALLOWED,
    Verdict.STEP_UP: ASKED,
    Verdict.SIGN_IN: ASKED,
    Verdict.REFUSE: REFUSED,
}


def count(ruling: Ruling) -> None:
    """Count an authorization or a refresh, with the rule that decided."""
    if ruling.application is None:
        return
    decision, person = ruling.decision, ruling.subject.user_id
    tallies.once(ruling.application.id, person, decision, OPENID, OUTCOMES[decision.verdict]).count += 1
    writer.start()
