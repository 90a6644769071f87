# make demo   the whole portal to try out, behind a real proxy   PORT=8000 IKD_VAR=var PROXY=traefik|nginx|caddy|haproxy|envoy
# make run    the portal alone                                   PORT=8000, and all of docs/configuration.md
# make bench  what a check costs, beside nginx, peers and an empty answer   QUICK=1: in about a minute   DATABASE=postgresql
# make storm  what happens when everybody comes at once             DATABASE=postgresql
# make screenshots   pictures of every page in var/screenshots   DOCS=1: those in docs/ too
# make quick  the tests that start no server   TESTS=tests/authgate
# make test   installs what the tests need, and runs everything  TESTS=tests/demo, CI=true: a missing program fails

MAKEFLAGS += --no-print-directory
SHELL := /bin/sh
VENV := .venv
PYTHON := $(VENV)/bin/python
NEEDS_PYTHON := Python 3.11 or newer is missing, or its module venv (Debian: apt install python3-venv).
NEEDS_NETWORK := No package index to be reached: is there a network?
PROGRAMS := nginx:nginx-light haproxy:haproxy redis-server:redis-server initdb:postgresql pgbouncer:pgbouncer chromium:chromium msgfmt:gettext wrk:wrk zbarimg:zbar-tools
PROGRAMS += ip:iproute2 git:git skopeo:skopeo docker-registry:docker-registry cadaver:cadaver rclone:rclone wget:wget curl:curl

WORKERS := $(shell nproc)

.PHONY: demo run test quick lint format bench storm screenshots programs clean

demo: $(VENV)/requirements-demo.done
	@exec $(PYTHON) demo/run.py

run: $(VENV)/requirements.done
	@exec $(PYTHON) -m ikd_portal.run

# Tests start hundreds of Python processes: each would compile the portal's own modules without a cache.
test: export PYTHONDONTWRITEBYTECODE :=
test: programs lint
	@echo "Checking settings and migrations …"
	@IKD_VAR=$$(mktemp -d) IKD_PORTAL_URL=https://sso.example.com sh -c '\
	  trap "rm -rf $$IKD_VAR" EXIT; \
	  $(PYTHON) manage.py check --deploy --fail-level WARNING && \
	  $(PYTHON) manage.py makemigrations --check --dry-run'
	@exec $(PYTHON) -m pytest -n $(WORKERS) --dist loadgroup $(TESTS)

quick: export PYTHONDONTWRITEBYTECODE :=
quick: $(VENV)/requirements-dev.done
	@exec $(PYTHON) -m pytest -n $$(nproc) --dist loadgroup -m quick $(TESTS)

lint: $(VENV)/requirements-dev.done
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@$(VENV)/bin/lint-imports >$(VENV)/imports.log || { cat $(VENV)/imports.log; exit 1; }

format: $(VENV)/requirements-dev.done
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .

# Tables of what checks and protected pages cost, and var/bench.json. Wants an idle machine. QUICK=1 takes about a minute;
# DATABASE=postgresql runs a PostgreSQL of its own. Peers are measured where their programs are on PATH.
bench: programs $(VENV)/requirements-dev.done
	@exec $(PYTHON) -m benchmarks

# What people wait while strangers flood the portal, hundreds sign in, or all workers are killed. QUICK=1: in two minutes.
storm: programs $(VENV)/requirements-dev.done
	@exec $(PYTHON) -m benchmarks.storm

screenshots: programs $(VENV)/requirements-dev.done
	@exec $(PYTHON) -m tools.screenshots $(if $(DOCS),--docs)

# What the tests need besides Python. They skip what is missing, and fail under CI=true.
programs:
	@missing=$$(PATH="$$PATH:/usr/sbin:$$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1)"; \
	  for each in $(PROGRAMS); do command -v $${each%%:*} >/dev/null || echo $${each##*:}; done); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	  echo "Going on without these of Debian's packages:" $$missing; exit 0; fi; \
	echo "Installing" $$missing "…"; \
	export DEBIAN_FRONTEND=noninteractive; \
	{ apt-get update && apt-get install -y --no-install-recommends $$missing; } </dev/null >/dev/null \
	  || echo "Going on without what could not be installed."

# The data in var/ stay.
clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/requirements-demo.done: requirements.txt
$(VENV)/requirements-dev.done: requirements.txt requirements-demo.txt
$(VENV)/%.done: %.txt $(VENV)/made
	@echo "Installing the packages of $< into $(VENV) …"
	@$(PYTHON) -m pip install --quiet --no-input --disable-pip-version-check -r $< 2>$(VENV)/pip.log || { \
	  if grep -qiE 'connection|resolution|unreachable|timed out' $(VENV)/pip.log; then echo "$(NEEDS_NETWORK)"; \
	  else tail -n 1 $(VENV)/pip.log; fi >&2; exit 1; }
	@touch $@

$(VENV)/made:
	@test -w . || { echo "No permission to write to $$PWD." >&2; exit 1; }
	@echo "Making the virtual environment $(VENV) …"
	@for python in python3.11 python3 python3.12 python3.13; do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    $$python -m venv --clear $(VENV) && touch $@ && exit 0; exit 1; fi; done; \
	echo "$(NEEDS_PYTHON)" >&2; exit 1
