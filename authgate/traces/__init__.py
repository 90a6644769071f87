"""Optional OpenTelemetry traces. The portal calls `spans`, and `export` sends them.

If traces are off, nothing of OpenTelemetry is imported. A span contains no path, query, header or text of a
user. Errors appear by type only, because their messages could contain a secret.
"""
