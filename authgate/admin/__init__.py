"""The gate in the Django admin."""

from authgate.admin import applications  # noqa: F401 (registers its pages)
