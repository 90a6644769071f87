"""What a change does to access: who gains and who loses it.

`values` has the result, `differences` compares two states as pure functions, and `comparison` loads the
states around a change and undoes it.
"""
