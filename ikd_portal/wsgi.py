"""Django as a WSGI application, for `runserver` and for the worker's thread pool."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ikd_portal.settings")

application = get_wsgi_application()
