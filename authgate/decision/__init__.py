"""Decides whether a subject may send a request to an application.

These are pure functions that import only the standard library. The check, the admin's explanations and access
previews, the doctor and the OpenID provider all call them. Read the files in this order:

1. `target`: the request to decide about, with its origin, address, method and URI in canonical form.
2. `rules`: a compiled application with its rules, the subject who asks, and the values of a decision.
3. `paths`: every way in which a proxy or backend may read a path.
4. `evaluation`: the function `decide`.
"""
