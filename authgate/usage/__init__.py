"""The use of rules by real requests: how often, by which people, and what another rule would change.

* `requests`: the counts that workers write, by application, rule, method, person and day.
* `tightening`: access that nobody used.
* `removals`: the removal of that access.
* `trials`: the decisions that rules which only watch would have made.
"""
