from __future__ import annotations

from django import template

from authgate.logs.request_ids import current_request

register = template.Library()


# A tag and no context: the error page (500) is rendered without a request.
@register.simple_tag
def request_id() -> str:
    """Return this request's id, which its log lines have: `{% request_id as reference %}`."""
    return current_request.get()
