"""The admin's page with a proxy's configuration for an application: a form, and files to copy or download."""

from __future__ import annotations

import io
import zipfile
from typing import Any

from django import forms
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from authgate.models import Application
from authgate.proxy_configuration.configuration import Configuration, configuration, fault_words
from authgate.proxy_configuration.facts import LONGEST_ADDRESS, LONGEST_PATH, BadFact
from authgate.proxy_configuration.proxies import KINDS
from authgate.proxy_configuration.shipped import File

EVERYTHING = "all"
"""The name that downloads all files as one archive. No file has this name."""


class ProxyForm(forms.Form):
    proxy = forms.ChoiceField(label=_("Proxy"), choices=[(key, kind.name) for key, kind in KINDS.items()])
    backend = forms.CharField(
        label=_("Address of the application"),
        max_length=LONGEST_ADDRESS,
        initial="127.0.0.1:9001",
        help_text=_(
            "As the proxy reaches it, such as 127.0.0.1:9001. In Kubernetes, a Service such as app.apps:80."
        ),
    )
    portal_at = forms.CharField(
        label=_("Address of the portal"),
        max_length=LONGEST_ADDRESS,
        initial="127.0.0.1:8000",
        help_text=_("As the proxy reaches it (IKD_BIND). In Kubernetes, a Service such as portal.ikd:8000."),
    )
    api = forms.CharField(
        label=_("Path of an API"),
        max_length=LONGEST_PATH,
        required=False,
        help_text=_("Such as /api/. Clients get a plain 401 below it, never a redirect. Default: none."),
    )

    found: Configuration

    def __init__(self, application: Application, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.application = application
        for field in self.fields.values():
            if isinstance(field, forms.CharField):
                field.widget.attrs |= {"autocomplete": "off", "spellcheck": "false"}

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        if self.errors:
            return given
        origins = [origin.value for origin in self.application.origins.all()]
        proxy = given["proxy"]
        try:
            self.found = configuration(proxy, origins, given["backend"], given["portal_at"], given["api"])
        except BadFact as problem:
            field = problem.field if problem.field in self.fields else None
            self.add_error(field, fault_words(problem, proxy))
        return given


def configuration_page(request: HttpRequest, application: Application) -> HttpResponse:
    """Show the form; if it was sent, show the files or return a download. Nothing is saved."""
    form = ProxyForm(application, request.GET) if "proxy" in request.GET else ProxyForm(application)
    found = form.found if form.is_bound and form.is_valid() else None
    if "file" in request.GET and found is not None:
        return _download(found, request.GET["file"])
    query = request.GET.copy()
    query.pop("file", None)
    context = {
        **admin.site.each_context(request),
        "title": gettext("Proxy configuration of %s") % application.name,
        "application": application,
        "opts": Application._meta,
        "form": form,
        "found": found,
        "kind": KINDS[form.cleaned_data["proxy"]] if found else None,
        "query": query.urlencode(),
        "everything": EVERYTHING,
    }
    request.current_app = admin.site.name
    return TemplateResponse(request, "admin/proxy_configuration.html", context)


def _download(found: Configuration, name: str) -> HttpResponse:
    if name == EVERYTHING:
        return _attachment(_archive(found.files), "application/zip", "proxy.zip")
    for file in found.files:
        if file.name == name:
            return _attachment(file.text.encode(), "text/plain; charset=utf-8", name.rpartition("/")[2])
    raise Http404


def _attachment(content: bytes, kind: str, name: str) -> HttpResponse:
    response = HttpResponse(content, content_type=kind)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _archive(files: tuple[File, ...]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.writestr(file.name, file.text)
    return content.getvalue()
