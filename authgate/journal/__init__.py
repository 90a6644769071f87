"""The journal: every change of what access depends on, as the rows before and after it.

`tables` says which columns it has, `triggers` writes it, `actor` names the author of a change, `states`
reads it at a moment, and `undo` takes a change back.
"""
