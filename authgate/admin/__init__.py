"""Applications and events in the Django admin."""

from authgate.admin import applications, configuration_events, events, journal  # noqa: F401 (they register their pages)
