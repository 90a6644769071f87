"""Proxy configurations for an application: the files of deploy/ with its names, addresses and API path.

`facts.py` validates all inserted values. `shipped.py` reads and changes the files that the tests run. The
modules named after proxies contain the changes for each proxy.
"""
