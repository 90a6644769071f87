"""The effect of a change on access: who gains access and who loses it.

`values` contains the result. `differences` compares two states with pure functions. `comparison` makes a
change and loads the states before and after it.
"""
