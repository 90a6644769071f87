"""The check: one pure function from a request's facts and the memory of a worker to the answer.

Nothing here imports anything but the standard library and this folder. Read the files in this order, in
which a request passes them:

1. `pipeline`: the check itself, step by step.
2. `request`: the request as it came in, and how the browser asked.
3. `query`: the check's own query, parsed once.
4. `contracts`: which headers a proxy vouches for, read into a target.
5. `target`: origins, client addresses, methods and URIs in their one canonical form.
6. `context`: what the steps hand on: contract, target, query, application and headers.
7. `missing`: what memory may lack.
8. `memory`: settings, gate sessions and programs.
9. `credentials` and `cookies`: the credential of a request.
10. `decision` and `paths`: the rules, and every way in which a path can be read.
11. `admission`: the answer that lets a request in.
12. `responses`: every other answer; `state` seals what a redirect to the portal carries.
13. `tally`: what counts the answers.
"""
