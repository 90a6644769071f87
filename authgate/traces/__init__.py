"""OpenTelemetry traces, if the settings ask for them: `spans` is what the portal calls, `export` sends them.

While traces are off, nothing of OpenTelemetry is imported. A span has no path, query, header or text of a
user. Errors are named by their type, because their words could contain a secret.
"""
