"""Groups, applications, providers and OpenID Connect clients in a file: plan, apply and export.

Reading order: `tree` (YAML with lines), `schema` (allowed keys), `document` (the file as values),
`reconciler` (finds and makes the changes), `plan`, `managed` (what earlier applies set), `export`.
"""
