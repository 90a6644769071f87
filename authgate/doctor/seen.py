"""The data for verdicts: requests that were sent, their responses, and their arrivals at the portal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from authgate.check.contracts import Contract
from authgate.decision.target import BadTarget, Target
from authgate.doctor.arrivals import CHECK, Arrival
from authgate.doctor.connection import Reply
from authgate.doctor.findings import Finding, Level
from authgate.doctor.lines import line_for
from authgate.doctor.probes import Probe


@dataclass(frozen=True, slots=True)
class Result:
    """A probe, the response to it, and its arrivals at the portal."""

    probe: Probe
    reply: Reply | None
    arrivals: tuple[Arrival, ...] = ()

    @property
    def check(self) -> Arrival | None:
        """The first arrival that was a check, or None."""
        return next((arrival for arrival in self.arrivals if arrival.place == CHECK), None)

    @property
    def status(self) -> int:
        """The status of the response; 0 without a response."""
        return self.reply.status if self.reply else 0


@dataclass(frozen=True, slots=True)
class Seen:
    """All results for an origin, with the settings that the portal uses to read checks."""

    origin: str
    portal: str
    results: tuple[Result, ...]
    checks: dict[str, Contract]
    hops: int
    public: frozenset[str] = frozenset()
    """Paths that a rule opens to everyone."""

    def named(self, name: str) -> Iterator[Result]:
        """Yield the results of the probes with this name."""
        return (result for result in self.results if result.probe.name == name)

    @property
    def contract(self) -> Contract | None:
        """The contract of the first check that arrived."""
        found = (result.check for result in self.results)
        return next((self.checks[arrival.facts.path] for arrival in found if arrival), None)

    def target(self, arrival: Arrival) -> Target:
        """Return the target that the portal reads from a check. Raises BadTarget."""
        contract = self.checks[arrival.facts.path]
        query = contract.query(arrival.facts.query)
        if query.fault or query.fault_of_parameter:
            raise BadTarget(query.fault or query.fault_of_parameter)
        return contract.read(arrival.facts, query, self.hops)

    def readable(self, result: Result) -> Target | None:
        """Return the target that the portal reads from a probe's check, or None."""
        if result.check is None:
            return None
        try:
            return self.target(result.check)
        except BadTarget:
            return None

    def problem(self, level: Level, test: str, reason: str, *subjects: str, **values: str) -> Finding:
        """Return a finding. It contains the configuration line of the first subject that has one."""
        contract = self.contract.name if self.contract else self._guessed
        return Finding(test, level, reason, values, line_for(contract, *subjects), self.origin)

    def fail(self, test: str, reason: str, *subjects: str, **values: str) -> Finding:
        return self.problem(Level.FAIL, test, reason, *subjects, **values)

    def warn(self, test: str, reason: str, *subjects: str, **values: str) -> Finding:
        return self.problem(Level.WARN, test, reason, *subjects, **values)

    @property
    def _guessed(self) -> str:
        """The proxy's kind by its Server header, if no check arrived. It only selects configuration lines."""
        for result in self.results:
            server = result.reply.header("server").lower() if result.reply else ""
            for name in ("nginx", "caddy", "envoy"):
                if server.startswith(name):
                    return name
        return ""
