"""The doctor: requests through an application's public address, and what they show of its proxy.

In the order in which a run passes them: `probes` (the requests), `connection` (sends them, to checked
addresses only), `tokens` and `arrivals` (how a check recognises them, and what it notes), `examination`
(sends them all), `seen`, `verdicts` and `spoofing` (findings), `lines` and `words` (the line that fixes a
mistake, and the text), `rounds` (who may run when, and the reports that are kept).
"""
