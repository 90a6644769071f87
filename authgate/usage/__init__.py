"""What real requests say about rules: how often they are used, by whom, and what another rule would change.

* `requests`: the counts that workers write, by application, rule, method, person and day.
* `tightening`: access that nobody used.
* `removals`: removes just that access.
* `trials`: what rules that only watch would have done.
"""
