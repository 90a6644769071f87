"""HAProxy, with the files of deploy/haproxy."""

from __future__ import annotations

from demo.cast import HOSTS, PORTAL_HOST
from demo.proxies.shipped import DEPLOY, Kind, Place, substitute

# deploy/ uses https, ports 80 and 443, and root; the demo uses none of these.
WITHOUT_ROOT = r"(?m)^    (?:user|group|chroot) .*\n"
WITHOUT_PORT_80 = r"(?ms)^frontend plain\n.*?(?=^frontend web)"


def write(program: str, place: Place) -> list[str]:
    configuration = place.folder / "haproxy.cfg"
    changes = {
        "sso.example.com": PORTAL_HOST,
        "app.example.com": " ".join(HOSTS),
        "bind :443 ssl crt /etc/haproxy/tls/example.pem alpn h2,http/1.1": f"bind 127.0.0.1:{place.port}",
        "%[var(txn.ikd_name)]\n": f"%[var(txn.ikd_name)]:{place.port}\n",
        "str(https)": "str(http)",
        "/etc/haproxy/ikd.lua": str(DEPLOY / "haproxy" / "ikd.lua"),
        "log /dev/log local0 notice": "log stderr format raw local0 notice",
    }
    text = (DEPLOY / "haproxy" / "minimal.cfg").read_text()
    without = {WITHOUT_ROOT: "", WITHOUT_PORT_80: ""}
    configuration.write_text(substitute(text, place.addresses | changes, without))
    return [program, "-db", "-f", str(configuration)]


HAPROXY = Kind("haproxy", "haproxy", "apt install haproxy (Debian)", write)
