"""Configurations of other portals as a configuration file, with a report of what cannot be carried over.

Whatever cannot be expressed exactly is refused rather than granted. `policies` turns ordered rules into rules
of the portal; each other module reads the files of one program.
"""
