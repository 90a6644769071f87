"""A real Apache with mod_auth_openidc and the configuration of deploy/openid-clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.openid.relying_party import RelyingParty
from tests.proxies.processes import Server, binary
from tests.proxies.proxy import DEPLOY
from tests.proxies.substitution import substituted

FILE = DEPLOY / "openid-clients" / "mod_auth_openidc.conf"
MODULES = Path("/usr/lib/apache2/modules")
NAMES = "mpm_event authn_core authz_core authz_user auth_openidc headers proxy proxy_http"
AROUND = """
ServerRoot {folder}
ServerName localhost
{modules}
User www-data
Group www-data
PidFile {folder}/pid
DefaultRuntimeDir {folder}
ErrorLog {folder}/error.log
LogLevel warn auth_openidc:info
StartServers 1
Listen {address}
Include {folder}/site.conf
"""


def start_apache(folder: Path, address: str, issuer: str, client: RelyingParty, backend: str) -> Server:
    """Start Apache at an address with the shipped file. Names and addresses are replaced, and TLS is off."""
    program = binary("apache2", "apache2")
    if not (MODULES / "mod_auth_openidc.so").exists():
        pytest.skip("mod_auth_openidc is missing: install libapache2-mod-auth-openidc")
    secret = folder / "secret.conf"
    secret.write_text(f"OIDCClientSecret {client.secret}\n")
    site = substituted(
        FILE.read_text(),
        {
            "<VirtualHost *:443>": f"<VirtualHost {address}>",
            "SSLEngine on": "",
            "SSLCertificateFile /etc/apache2/tls/example.com.pem": "",
            "SSLCertificateKeyFile /etc/apache2/tls/example.com.key": "",
            "https://sso.example.com": issuer,
            "OIDCClientID wiki": f"OIDCClientID {client.client.client_id}",
            "/etc/apache2/openid-secret.conf": str(secret),
            "https://wiki.example.com": f"http://{address}",
            r"https://wiki\.example\.com": f"http://{address}",
            "127.0.0.1:9001": backend,
        },
    )
    (folder / "site.conf").write_text(site)
    modules = "\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in NAMES.split())
    (folder / "apache.conf").write_text(AROUND.format(folder=folder, modules=modules, address=address))
    server = Server(
        [program, "-DFOREGROUND", "-f", str(folder / "apache.conf")], log=folder / "apache.log", cwd=folder
    )
    host, _, port = address.partition(":")
    server.wait_for((host, int(port)))
    return server
