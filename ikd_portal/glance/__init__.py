"""Parts of the admin's first page: figures, plots, and a search over everything."""
