"""gunicorn's configuration: `gunicorn -c ikd_portal/gunicorn_conf.py ikd_portal.asgi:application`."""

from __future__ import annotations

import logging
import os
import sys

from ikd_portal.logs import configuration as logs

try:
    logconfig_dict = logs.configuration()
except ValueError as mistake:
    os.environ["IKD_LOG_FORMAT"], os.environ["IKD_LOG_LEVEL"] = "json", "info"
    logs.configure(logs.configuration())
    logging.getLogger("ikd.start").critical("%s", mistake)
    sys.exit(1)
logs.configure(logconfig_dict)
logs.watch_uncaught_exceptions()

bind = os.environ.get("IKD_BIND", "127.0.0.1:8000")
workers = int(os.environ.get("IKD_WORKERS", "2"))
worker_class = "ikd_portal.worker.PortalWorker"
keepalive = 75  # longer than proxies keep an idle connection, so that they are the ones to close it
timeout = 30
graceful_timeout = 30
umask = 0o117  # a Unix socket of mode 0660: its group may speak for a proxy, nobody else
control_socket_disable = True
forwarded_allow_ips = ""
