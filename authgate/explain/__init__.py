"""Explain: the check's answer to a person's request, and its reasons. Nothing here writes.

* `question` reads the request.
* `heads` creates the check that each kind of proxy sends for it.
* `persons` loads the person.
* `trace` calls `decide` for each path variant and each rule.
* `explanation` runs the check itself.
* `words` has the texts of the result.
* `access` lists who can open an application.
"""
