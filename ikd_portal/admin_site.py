from __future__ import annotations

from django.contrib.admin import AdminSite


class PortalAdminSite(AdminSite):
    site_header = "ikD Portal"
