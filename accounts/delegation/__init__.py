"""Owners manage their application, and group managers the members of a group, without being staff."""
