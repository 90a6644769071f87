"""Proxy configurations for one application: the files of deploy/ with its names, addresses and API path.

`facts.py` validates what goes into a text, and `shipped.py` reads and changes the files that the tests run.
The files named after proxies have the changes for them.
"""
