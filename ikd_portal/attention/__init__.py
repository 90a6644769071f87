"""Matters that need attention, for the admin's first page. `portal` collects those of the other modules."""
