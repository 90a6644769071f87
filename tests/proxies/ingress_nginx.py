"""nginx instead of ingress-nginx, with the locations that its controller writes for the shipped manifests.

They follow rootfs/etc/nginx/template/nginx.tmpl of controller 1.15.1. The controller chooses pods and
redirects to https in Lua; here this is plain nginx. nginx lacks `set_escape_uri`, so a chain of maps escapes
the characters that matter within a parameter.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.behaviour import PORTAL, SITES
from tests.proxies.backend import Backend
from tests.proxies.portal import Portal
from tests.proxies.processes import Server, binary
from tests.proxies.proxy import DEPLOY, Proxy, make_certificate
from tests.proxies.substitution import substituted

ANNOTATION = "nginx.ingress.kubernetes.io/"
Manifest = dict[str, Any]

MAIN = """
daemon off;
user root;
worker_processes 1;
pid nginx.pid;
error_log stderr;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    underscores_in_headers {underscores};
    ignore_invalid_headers {ignore_invalid};
    client_header_buffer_size 1k;
    large_client_header_buffers {header_buffers};
    {real_ip}
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    {escaping}
    server {{ listen {listen} default_server; server_name _; {tls} return 404; }}
    server {{ listen {plain} default_server; server_name _; return 308 https://$http_host$request_uri; }}
    {servers}
}}
"""

REAL_IP = "set_real_ip_from 0.0.0.0/0; real_ip_header X-Forwarded-For; real_ip_recursive on;"


@dataclass
class Ingresses:
    """Everything that the controller reads in a cluster, and the addresses of its Services."""

    ingresses: list[Manifest]
    config_maps: dict[str, dict[str, str]]
    services: dict[str, str]
    controller: dict[str, str] = field(default_factory=dict)

    def set_headers(self) -> dict[str, str]:
        return self.config_maps.get(self.controller.get("proxy-set-headers", ""), {})


def read_manifests(text: str, services: dict[str, str]) -> Ingresses:
    """Read manifests. `services` are addresses by the Services' names."""
    documents = [document for document in yaml.safe_load_all(text) if document]
    maps = {
        f"{document['metadata']['namespace']}/{document['metadata']['name']}": document["data"]
        for document in documents
        if document["kind"] == "ConfigMap"
    }
    ingresses = [document for document in documents if document["kind"] == "Ingress"]
    controller = maps.get("ingress-nginx/ingress-nginx-controller", {})
    return Ingresses(ingresses, maps, services, controller)


def start_ingress_nginx(
    portal: Portal,
    backend: Backend,
    folder: Path,
    *,
    file: str = "complete.yaml",
    portal_at: str = "",
    loopback: str = "127.0.0.10",
    shipped: Path = DEPLOY,
) -> Proxy:
    """Start nginx as the controller would for one of the shipped files, with other names and ports."""
    program = binary("nginx", "nginx-light")
    address = (loopback, portal.port)
    text = (shipped / "ingress-nginx" / file).read_text()
    text = substituted(text, _replacements(text, portal))
    services = backend_services(backend) | dict.fromkeys(("portal", "ikd-portal"), portal_at or portal.bind)
    written = nginx_conf(read_manifests(text, services), portal, folder, loopback)
    (folder / "nginx.conf").write_text(written)
    server = Server(
        [program, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")],
        log=folder / "nginx.log",
    )
    server.wait_for(address)
    return Proxy(
        "ingress_nginx",
        "status",
        False,
        address,
        portal,
        backend,
        server,
        sends_everybody_to_start=True,
        tells_why=False,
        keeps_connections=False,
    )


def backend_services(backend: Backend) -> dict[str, str]:
    return dict(backend.addresses)


def _replacements(text: str, portal: Portal) -> dict[str, str]:
    hosts = {host: portal.names[site] for site, host in SITES.items()} | {PORTAL: portal.names["portal"]}
    replacements = {host: name for host, name in hosts.items() if host in text}
    with_port = {
        "?host=$host": f"?host=$host:{portal.port}",
        "https://$host/": f"https://$host:{portal.port}/",
    }
    with_port |= {f"https://{PORTAL}/": f"{portal.origin('portal')}/"}
    replacements |= {old: new for old, new in with_port.items() if old in text}
    internal = "portal.ikd.svc.cluster.local:8000"
    return replacements | ({internal: "portal:8000"} if internal in text else {})


# ---- what the controller writes ---------------------------------------------------------------------------


def nginx_conf(cluster: Ingresses, portal: Portal, folder: Path, loopback: str) -> str:
    made = make_certificate(folder)
    tls = f"ssl_certificate {made.certificate}; ssl_certificate_key {made.key};"
    listen, plain = f"{loopback}:{portal.port} ssl", f"{loopback}:{portal.plain_port}"
    also_plain = f"listen {plain};" if cluster.controller.get("ssl-redirect") == "false" else ""
    hosts = sorted({rule["host"] for ingress in cluster.ingresses for rule in ingress["spec"]["rules"]})
    servers = [
        f"server {{ listen {listen}; {also_plain} server_name {host}; {tls}\n"
        f"{cluster.controller.get('server-snippet', '')}\n{_locations(cluster, host)}\n}}"
        for host in hosts
    ]
    return MAIN.format(
        underscores="on" if cluster.controller.get("enable-underscores-in-headers") == "true" else "off",
        ignore_invalid="off" if cluster.controller.get("ignore-invalid-headers") == "false" else "on",
        header_buffers=cluster.controller.get("large-client-header-buffers", "4 8k"),
        real_ip=REAL_IP if cluster.controller.get("use-forwarded-headers") == "true" else "",
        escaping=_escaping(),
        listen=listen,
        plain=plain,
        tls=tls,
        servers="\n".join(servers),
    )


def _locations(cluster: Ingresses, host: str) -> str:
    """Write a host's locations. A rewrite or regex in one Ingress makes all of them regular expressions."""
    found = [
        (ingress, path)
        for ingress in cluster.ingresses
        for rule in ingress["spec"]["rules"]
        if rule["host"] == host
        for path in rule["http"]["paths"]
    ]
    has_regex = any(f"{ANNOTATION}rewrite-target" in _annotations(ingress) for ingress, _ in found)
    found.sort(key=lambda pair: len(pair[1]["path"]), reverse=True)
    written = []
    for ingress, path in found:
        for match in _matches(path["path"], path["pathType"], has_regex):
            written.append(_location(cluster, ingress, path, match))
    return "\n".join(written)


def _matches(path: str, kind: str, has_regex: bool) -> list[str]:
    if has_regex:
        return [f'~* "^{path}"']
    if kind == "Exact":
        return [f'= "{path}"']
    return [f'"{path}"'] if path == "/" else [f'"{path}/"', f'= "{path}"']


def _annotations(ingress: Manifest) -> dict[str, str]:
    annotations: dict[str, str] = ingress["metadata"].get("annotations", {})
    return annotations


def _location(cluster: Ingresses, ingress: Manifest, path: Manifest, match: str) -> str:
    told = {name.removeprefix(ANNOTATION): value for name, value in _annotations(ingress).items()}
    digest = hashlib.sha1(f"{match}{ingress['metadata']['name']}".encode()).hexdigest()
    upstream = cluster.services[path["backend"]["service"]["name"]]
    before, lines = "", ["set $pass_access_scheme $scheme;", "set $best_http_host $http_host;"]
    if "auth-url" in told:
        before = _auth_location(cluster, told, digest)
        lines += _asking(told, digest)
    if "auth-signin" in told:
        before += _sign_in_location(told["auth-signin"], digest)
        lines.append(f"error_page 401 = @{digest};")
    for code in filter(None, told.get("custom-http-errors", "").split(",")):
        before += _error_location(code, digest, cluster.services[told["default-backend"]])
        lines.append(f"proxy_intercept_errors on; error_page {code} = @custom_{digest}_{code};")
    lines += _proxied(cluster, told, upstream)
    if "rewrite-target" in told:
        lines.append(f'rewrite "(?i){path["path"]}" {told["rewrite-target"]} break;')
    return f"{before}location {match} {{\n    " + "\n    ".join(lines) + "\n}\n"


def _auth_location(cluster: Ingresses, told: dict[str, str], digest: str) -> str:
    url = told["auth-url"].replace("//portal:8000/", f"//{cluster.services['portal']}/")
    more = cluster.config_maps.get(told.get("auth-proxy-set-headers", ""), {})
    extra = "\n    ".join(f'proxy_set_header "{name}" "{value}";' for name, value in sorted(more.items()))
    method = told.get("auth-method", "")
    return f"""location = /_external-auth-{digest}-Prefix {{
    internal;
    access_log off;
    proxy_intercept_errors off;
    proxy_pass_request_body off;
    proxy_set_header Content-Length "";
    proxy_set_header X-Forwarded-Proto "";
    proxy_set_header X-Request-ID $request_id;
    {f"proxy_method {method};" if method else ""}
    proxy_set_header Host portal.ikd.svc.cluster.local;
    proxy_set_header X-Original-URL $scheme://$http_host$request_uri;
    proxy_set_header X-Original-Method $request_method;
    proxy_set_header X-Sent-From "nginx-ingress-controller";
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Auth-Request-Redirect $request_uri;
    proxy_buffering off;
    proxy_buffer_size 4k;
    proxy_buffers 4 4k;
    proxy_request_buffering {told.get("proxy-request-buffering", "on")};
    proxy_ssl_server_name on;
    proxy_pass_request_headers on;
    client_max_body_size {told.get("proxy-body-size", "1m")};
    {extra}
    {told.get("auth-snippet", "")}
    proxy_http_version 1.1;
    set $target "{url}";
    proxy_pass $target;
}}
"""


def _asking(told: dict[str, str], digest: str) -> list[str]:
    always = " always" if told.get("auth-always-set-cookie") == "true" else ""
    lines = [
        f"auth_request /_external-auth-{digest}-Prefix;",
        "auth_request_set $auth_cookie $upstream_http_set_cookie;",
        f"add_header Set-Cookie $auth_cookie{always};",
    ]
    names = [name.strip() for name in told.get("auth-response-headers", "").split(",") if name.strip()]
    for index, name in enumerate(names):
        variable = name.lower().replace("-", "_")
        lines.append(f"auth_request_set $authHeader{index} $upstream_http_{variable};")
        lines.append(f"proxy_set_header '{name}' $authHeader{index};")
    return lines


def _sign_in_location(url: str, digest: str) -> str:
    joint = "&" if "?" in url else "?"
    where = f"{url}{joint}rd=$pass_access_scheme://$http_host$escaped_request_uri"
    return f"location @{digest} {{ internal; add_header Set-Cookie $auth_cookie; return 302 {where}; }}\n"


def _error_location(code: str, digest: str, upstream: str) -> str:
    """Write the location in which the default backend answers for an error, with its own status."""
    return f"""location @custom_{digest}_{code} {{
    internal;
    proxy_intercept_errors off;
    proxy_set_header X-Code {code};
    proxy_set_header X-Original-URI $request_uri;
    rewrite (.*) / break;
    proxy_pass http://{upstream};
}}
"""


def _proxied(cluster: Ingresses, told: dict[str, str], upstream: str) -> list[str]:
    return [
        f"client_max_body_size {told.get('proxy-body-size', '1m')};",
        "proxy_set_header Host $best_http_host;",
        "proxy_set_header Upgrade $http_upgrade;",
        "proxy_set_header Connection $connection_upgrade;",
        "proxy_set_header X-Request-ID $request_id;",
        "proxy_set_header X-Real-IP $remote_addr;",
        "proxy_set_header X-Forwarded-For $remote_addr;",
        "proxy_set_header X-Forwarded-Host $best_http_host;",
        "proxy_set_header X-Forwarded-Port $server_port;",
        "proxy_set_header X-Forwarded-Proto $pass_access_scheme;",
        "proxy_set_header X-Forwarded-Scheme $pass_access_scheme;",
        "proxy_set_header X-Scheme $pass_access_scheme;",
        "proxy_set_header X-Original-Forwarded-For $http_x_forwarded_for;",
        "proxy_set_header X-Original-Forwarded-Host $http_x_forwarded_host;",
        'proxy_set_header Proxy "";',
        *(f'proxy_set_header {name} "{value}";' for name, value in cluster.set_headers().items()),
        "proxy_connect_timeout 5s;",
        f"proxy_read_timeout {told.get('proxy-read-timeout', '60')}s;",
        "proxy_buffering off;",
        "proxy_buffer_size 4k;",
        "proxy_buffers 4 4k;",
        f"proxy_request_buffering {told.get('proxy-request-buffering', 'on')};",
        "proxy_http_version 1.1;",
        "proxy_redirect off;",
        f"proxy_pass http://{upstream};",
    ]


ESCAPED = {"%": "%25", "&": "%26", "#": "%23", "+": "%2B"}


def _escaping(most: int = 24) -> str:
    """Escape up to `most` characters of the request's URI, one in each step. A longer URI loses its end."""
    maps = [
        "map $request_uri $uri_head_0 { default ''; }",
        "map $request_uri $uri_tail_0 { default $request_uri; }",
    ]
    for step in range(most):
        tail = f"$uri_tail_{step}"
        heads = "".join(
            f'"~^(?<h{step}>[^%&#+]*)\\{plain}" "$uri_head_{step}$h{step}{escaped}"; '
            for plain, escaped in ESCAPED.items()
        )
        maps.append(f"map {tail} $uri_head_{step + 1} {{ default $uri_head_{step}{tail}; {heads}}}")
        maps.append(
            f'map {tail} $uri_tail_{step + 1} {{ default ""; "~^[^%&#+]*[%&#+](?<t{step}>.*)$" $t{step}; }}'
        )
    maps.append(f"map $request_uri $escaped_request_uri {{ default $uri_head_{most}; }}")
    return "variables_hash_max_size 4096; variables_hash_bucket_size 128;\n    " + "\n    ".join(maps)
