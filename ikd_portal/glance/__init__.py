"""The first page of the administration at a glance: figures, plots, and a search over everything."""
