"""The doctor: it tests an application's proxy with requests to the application's public address.

In the order of a run:

* `probes`: the requests.
* `connection`: sends a request, to checked addresses only.
* `tokens` and `arrivals`: a check recognises the requests, and notes them.
* `examination`: sends all requests.
* `seen`, `verdicts` and `spoofing`: the findings.
* `lines` and `words`: the line that fixes a mistake, and the text.
* `rounds`: starts runs, one at a time, and keeps the reports.
"""
