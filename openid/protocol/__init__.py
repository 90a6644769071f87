"""OpenID Connect and OAuth 2.0 as pure functions: the standard library and PyJWT alone.

Requests are parsed once, here, into frozen values. Nothing here knows Django, a database or a clock.

Numbers in docstrings are RFCs. Core is OpenID Connect Core 1.0; RPL and BCL are its RP-Initiated Logout and
Back-Channel Logout.
"""
