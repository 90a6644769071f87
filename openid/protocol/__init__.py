"""OpenID Connect and OAuth 2.0 as pure functions, using only the standard library and PyJWT.

Requests are parsed once, here, into frozen values. Nothing here uses Django, a database or a clock.

Numbers in docstrings are RFCs. Core is OpenID Connect Core 1.0; RPL and BCL are its RP-Initiated Logout and
Back-Channel Logout.
"""
