"""The journal: all changes of rows that access depends on, with the rows before and after each.

* `tables` lists its tables and columns.
* `triggers` writes it.
* `actor` names the author of a change.
* `states` returns the rows at a moment.
* `undo` undoes a change.
"""
