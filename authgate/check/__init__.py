"""The check: a pure function from a request and a worker's memory to an answer.

These modules import only the standard library, `authgate.decision` and `authgate.cookies`. A request passes
the files in this order:

1. `pipeline`: the check, step by step.
2. `request`: the incoming request, and the hints that a browser sends with it.
3. `query`: the parsed query of the check's own URL.
4. `contracts`: the headers that each kind of proxy sets. They name the target of the request.
5. `context`: the values that one step passes to the next.
6. `missing`: the data that memory can lack.
7. `memory`: settings, gate sessions and programs.
8. `credentials`: the credential of a request.
9. `admission`: the answer that lets a request in.
10. `responses`: all other answers. `state` seals the state in a redirect to the portal.
11. `tally`: the counts of answers.

Between `credentials` and `admission`, `authgate.decision` decides by the rules.
"""
