"""Converts configurations of other portals to a configuration file, and reports what it left out.

A rule that cannot be expressed exactly is left out, so that it grants nothing. `policies` turns ordered rules
into rules of the portal. Each other module reads the files of one program.
"""
