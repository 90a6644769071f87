# make demo   runs the whole portal behind a real proxy, to try it out   PORT=8000 IKD_VAR=var PROXY=traefik|nginx|caddy|haproxy|envoy
# make run    runs the portal alone                              PORT=8000, and all of docs/configuration.md
# make bench  measures the cost of a check, compared with nginx, peers and an empty answer   QUICK=1: in about a minute   DATABASE=postgresql
# make bench-openid   measures the cost of sign-ins at OpenID clients, compared with peers   QUICK=1   DATABASE=postgresql
# make storm  measures checks under heavy load                       DATABASE=postgresql
# make screenshots   takes pictures of every page into var/screenshots   DOCS=1: those in docs/ too   ONLY="admin sign-in" VIEWS="light dark"
# make quick  runs the tests that start no server   TESTS=tests/authgate
# make lock   writes the lock files and docs/licences.md after a change of requirements; make audit   looks for known vulnerabilities
# make release   builds what a release publishes into dist/   DRAFT=1: of any commit, whatever the changelog says
# make site   builds the documentation's site into site/, and fails at a broken link
# make image-test   builds the container image, and runs it: root on Debian
# make manifests   writes the plain manifests of deploy/kubernetes from the Helm chart
# make kubernetes-test   tests the chart and the routes on Kubernetes' real API server, which it builds once
# make gateway-test   builds Envoy Gateway, and runs the generated objects in it
# make test   installs what the tests need, and runs everything  TESTS=tests/demo, CI=true: a missing program fails
#             DATABASE=postgresql: everything on PostgreSQL and Redis; without it only a part also runs there
# make outages   counts what fails behind two portals, in a table for each outage   REPORT=var/outages.md

# Two jobs: packages of Debian and of Python are installed at the same time, and type checks run beside the rest.
MAKEFLAGS += --no-print-directory -j2
SHELL := /bin/sh
VENV := .venv
PYTHON := $(VENV)/bin/python
NEEDS_PYTHON := Python 3.11 or newer is missing, or its module venv (Debian: apt install python3-venv).
NEEDS_NETWORK := No package index to be reached: is there a network?
PROGRAMS := nginx:nginx-light haproxy:haproxy redis-server:redis-server initdb:postgresql pgbouncer:pgbouncer chromium:chromium chromium-headless-shell:chromium-headless-shell msgfmt:gettext wrk:wrk zbarimg:zbar-tools
PROGRAMS += ip:iproute2 git:git systemd-analyze:systemd skopeo:skopeo docker-registry:docker-registry cadaver:cadaver rclone:rclone wget:wget curl:curl
PROGRAMS += apache2:apache2 go:golang-go /usr/lib/apache2/modules/mod_auth_openidc.so:libapache2-mod-auth-openidc

# Half of a test's time is waiting for servers, so each processor has work for two workers.
WORKERS := $(shell expr 2 \* $$(nproc))

# After all tests on SQLite, `make test` runs these on PostgreSQL and Redis.
ON_POSTGRESQL := tests/authgate/test_hand_over.py tests/authgate/test_configuration_events.py tests/accounts/test_throttle.py \
	tests/accounts/test_look_alikes.py tests/accounts/test_sign_ins.py tests/accounts/test_password_reset.py \
	tests/accounts/test_error_pages.py tests/openid/test_tokens.py tests/delegation/test_owners.py tests/glance
PYTEST := $(PYTHON) -m pytest -n $(WORKERS) --dist loadgroup
PYTEST_ON_POSTGRESQL := $(PYTHON) -m tests.on_postgresql -n $(WORKERS) --dist loadgroup

.PHONY: outages demo run test image-test kubernetes-test gateway-test manifests quick lint types checks format lock audit release site bench bench-openid storm screenshots programs promtool clean

demo: $(VENV)/requirements-demo.done
	@exec $(PYTHON) demo/run.py

run: $(VENV)/requirements.done
	@exec $(PYTHON) -m ikd_portal.run

# Tests start hundreds of Python processes. Without a cache, each would compile the portal's modules.
test: export PYTHONDONTWRITEBYTECODE :=
test: programs promtool lint checks
ifeq ($(DATABASE),postgresql)
	@exec $(PYTEST_ON_POSTGRESQL) $(TESTS)
else ifneq ($(TESTS),)
	@exec $(PYTEST) $(TESTS)
else
	@$(PYTEST)
	@echo "A part of it on PostgreSQL and Redis …"
	@exec $(PYTEST_ON_POSTGRESQL) $(ON_POSTGRESQL)
endif

# Takes minutes, mostly waiting, because the portals and proxies notice each outage only after seconds.
outages: export IKD_OUTAGES := $(or $(REPORT),var/outages.md)
outages: programs $(VENV)/requirements-dev.done
	@mkdir -p $(dir $(IKD_OUTAGES)) && rm -f $(IKD_OUTAGES)
	@$(PYTHON) -m pytest -q tests/several/test_bad_days.py
	@cat $(IKD_OUTAGES)

# Apart from `make test`: a first run downloads a Debian and every package, which takes minutes.
image-test: PROGRAMS := buildah:buildah podman:podman mmdebstrap:mmdebstrap runc:runc
image-test: export IKD_IMAGE_TESTS := 1
image-test: programs $(VENV)/requirements-dev.done
	@exec $(PYTHON) -m pytest $(or $(TESTS),tests/install/test_image.py)

# Apart from `make test`: a first run builds Kubernetes' API server, which takes minutes.
kubernetes-test: PROGRAMS := etcd:etcd-server ip:iproute2 unshare:util-linux openssl:openssl chromium:chromium
kubernetes-test: programs $(VENV)/requirements-dev.done
	@exec $(PYTHON) -m tests.kubernetes.apart $(or $(TESTS),tests/kubernetes)

manifests: $(VENV)/requirements-dev.done
	@exec $(PYTHON) -m tools.manifests

# Apart from `make test`: a first run builds Envoy Gateway, which takes minutes.
GATEWAY_TESTS := $(patsubst %,tests/proxies/test_%.py,envoy_gateway behaviour spoofing oddities machines maintenance warm long_pages)
gateway-test: export IKD_GATEWAY_TESTS := 1
gateway-test: programs $(VENV)/requirements-dev.done
	@exec $(PYTHON) -m pytest -k envoy_gateway $(or $(TESTS),$(GATEWAY_TESTS))

quick: export PYTHONDONTWRITEBYTECODE :=
quick: $(VENV)/requirements-dev.done
	@exec $(PYTHON) -m pytest -n $$(nproc) --dist loadgroup -m quick $(TESTS)

lint: types
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(VENV)/bin/lint-imports >$(VENV)/imports.log || { cat $(VENV)/imports.log; exit 1; }

types: $(VENV)/requirements-dev.done
	@$(PYTHON) -m mypy

checks: $(VENV)/requirements-dev.done
	@echo "Checking settings and migrations …"
	@IKD_VAR=$$(mktemp -d) IKD_PORTAL_URL=https://sso.example.com sh -c '\
	  trap "rm -rf $$IKD_VAR" EXIT; \
	  $(PYTHON) manage.py check --deploy --fail-level WARNING && \
	  $(PYTHON) manage.py makemigrations --check --dry-run'

format: $(VENV)/requirements-dev.done
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .

# The lock files are for Python 3.11 and newer, on every system.
UV_COMPILE := $(VENV)/release/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command 'make lock'
lock: $(VENV)/requirements-dev.done $(VENV)/release/made
	@$(UV_COMPILE) requirements.txt -o requirements.lock
	@$(UV_COMPILE) requirements-build.txt -o requirements-build.lock
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@$(PYTHON) -m tools.licences

audit: $(VENV)/release/made
	@for lock in requirements.lock requirements-build.lock; do \
	  $(VENV)/release/bin/pip-audit --strict --require-hashes --disable-pip -r $$lock >$(VENV)/audit.log 2>&1 \
	    && cat $(VENV)/audit.log && continue; \
	  cat $(VENV)/audit.log >&2; \
	  if grep -qiE 'could not be audited|connection|resolution|timed out' $(VENV)/audit.log; then \
	    echo "$$lock was not audited: https://pypi.org does not answer with its advisories. Run this where it does." >&2; fi; \
	  exit 1; done

site: $(VENV)/docs/made
	@NO_MKDOCS_2_WARNING=1 $(VENV)/docs/bin/python -m mkdocs build --strict

$(VENV)/docs/made: requirements-docs.txt $(VENV)/made
	@$(PYTHON) -m venv --clear $(VENV)/docs
	@$(VENV)/docs/bin/pip install --quiet --disable-pip-version-check -r requirements-docs.txt && touch $@

release: $(VENV)/requirements-dev.done
	@exec $(PYTHON) -m tools.release $(if $(DRAFT),--draft)

$(VENV)/release/made: requirements-release.txt $(VENV)/made
	@$(PYTHON) -m venv --clear $(VENV)/release
	@$(VENV)/release/bin/pip install --quiet --disable-pip-version-check -r requirements-release.txt && touch $@

# Prints the cost of checks and protected pages, and writes var/bench.json. The machine should be idle. QUICK=1 takes about
# a minute; DATABASE=postgresql starts a separate PostgreSQL. Peers are measured if their programs are on PATH.
bench: programs $(VENV)/requirements-dev.done
	@exec $(PYTHON) -m benchmarks

# Measures how long users wait while attackers flood the portal, hundreds sign in, or all workers are killed. QUICK=1: in
# two minutes.
storm: programs $(VENV)/requirements-dev.done
	@exec $(PYTHON) -m benchmarks.storm

# Measures the cost of codes, exchanges and refreshes of OpenID clients, compared with Keycloak and Dex if installed.
bench-openid: programs $(VENV)/requirements-dev.done
	@exec $(PYTHON) -m benchmarks.openid

# Chinese pages need a font with their characters.
screenshots: PROGRAMS += /usr/share/fonts/truetype/wqy/wqy-microhei.ttc:fonts-wqy-microhei
screenshots: programs $(VENV)/requirements-dev.done
	@exec $(PYTHON) -m tools.screenshots $(if $(DOCS),--docs) $(if $(ONLY),--only $(ONLY)) $(if $(VIEWS),--views $(VIEWS))

# Installs the programs that the tests need besides Python. If one is missing, its tests are skipped, or fail under CI=true.
programs:
	@missing=$$(PATH="$$PATH:/usr/sbin:$$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1)"; \
	  for each in $(PROGRAMS); do command -v $${each%%:*} >/dev/null || test -f $${each%%:*} || echo $${each##*:}; done); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	  echo "Going on without these of Debian's packages:" $$missing; exit 0; fi; \
	echo "Installing" $$missing "…"; \
	export DEBIAN_FRONTEND=noninteractive; \
	{ apt-get update && apt-get install -y --no-install-recommends $$missing; } </dev/null >/dev/null \
	  || echo "Going on without what could not be installed."

# Unpacks promtool only, because Debian's package prometheus starts a server that listens on all addresses. It runs after
# `programs`, because only one apt-get can run at a time.
promtool: $(VENV)/made programs
	@command -v promtool >/dev/null || test -x $(VENV)/bin/promtool || { \
	  folder=$$(mktemp -d); to=$$(cd $(VENV)/bin && pwd); \
	  { cd $$folder && { apt-get download prometheus || { apt-get update && apt-get download prometheus; }; } && \
	    dpkg-deb -x prometheus_*.deb . && cp usr/bin/promtool $$to; } </dev/null >/dev/null 2>&1 \
	    || echo "Going on without promtool."; \
	  rm -rf $$folder; }

# Keeps the data in var/.
clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv installs the many packages of the tests in a quarter of the time. It reads no settings of pip,
# so if it fails, pip installs them.
PIP_INSTALL = $(PYTHON) -m pip install --quiet --no-input --disable-pip-version-check
WITH_UV = $(PIP_INSTALL) -c requirements-release.txt uv && $(PYTHON) -m uv pip install --python $(PYTHON) -r $<

$(VENV)/requirements-demo.done: requirements.txt
$(VENV)/requirements-dev.done: requirements.txt requirements-demo.txt requirements-traces.txt requirements-release.txt
$(VENV)/requirements-dev.done: INSTALL_FIRST = { $(WITH_UV); } >$(VENV)/uv.log 2>&1 ||
$(VENV)/%.done: %.txt $(VENV)/made
	@echo "Installing the packages of $< into $(VENV) …"
	@$(INSTALL_FIRST) $(PIP_INSTALL) -r $< 2>$(VENV)/pip.log || { \
	  if grep -qiE 'connection|resolution|unreachable|timed out' $(VENV)/pip.log; then echo "$(NEEDS_NETWORK)"; \
	  else tail -n 1 $(VENV)/pip.log; fi >&2; exit 1; }
	@touch $@

# Prefer the system's Python: Debian builds it with profile-guided optimization. Without it, pyenv's is an eighth slower.
$(VENV)/made:
	@test -w . || { echo "No permission to write to $$PWD." >&2; exit 1; }
	@echo "Making the virtual environment $(VENV) …"
	@for python in /usr/bin/python3 python3.11 python3 python3.12 python3.13; do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    $$python -m venv --clear $(VENV) && touch $@ && exit 0; exit 1; fi; done; \
	echo "$(NEEDS_PYTHON)" >&2; exit 1
