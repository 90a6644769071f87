from __future__ import annotations

from django import template

from accounts.branding import brand

register = template.Library()


# A tag and no context processor: the error page (500) is rendered without a request.
@register.simple_tag
def current_brand() -> brand.BrandStyle:
    """Return the portal's brand: `{% current_brand as brand %}`."""
    return brand.current()
