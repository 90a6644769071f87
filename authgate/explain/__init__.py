"""Explain: which answer the check would give to a person's request, and why. Nothing here writes.

`question` reads the request, `heads` writes it down as each proxy does, `persons` loads who asks,
`trace` asks `decide` about each path variant and rule, `explanation` runs the check itself, `words` says
the result. `access` lists who can open an application.
"""
