"""Groups, applications, providers and OpenID Connect clients in a file: plan, apply and export.

Reading order: `tree` (YAML with lines), `schema` (which keys there are), `document` (the file as values),
`reconciler` (what has to change, and doing it), `plan` and `managed` (what an earlier apply left), `export`.
"""
