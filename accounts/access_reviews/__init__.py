"""Reviews of access: owners confirm or remove each person who can open their application."""
