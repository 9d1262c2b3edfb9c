# Every target makes the environment it needs; one that is there is used as it is.

PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python

# Stamps: the environment is installed again only when pyproject.toml has changed.
DEMO_READY := $(VENV)/.demo-ready
DEV_READY := $(VENV)/.dev-ready
DOCS_READY := $(VENV)/.docs-ready
MARIADB_READY := $(VENV)/.mariadb-ready

# As many processes as there are cores, at most four: a worker makes databases of its own before its first test.
PARALLEL := -n auto --maxprocesses 4 --dist worksteal

# The suite on one database. Tests marked "serial" start and kill real processes, so they run alone, afterwards.
# Exit status 5 means that nothing was selected: fine for one half of the suite, not for both.
define run_suite
	@TEST_DB=$(1) $(PY) -m pytest -m "not serial" $(PARALLEL) $(ARGS); together=$$?; \
	TEST_DB=$(1) $(PY) -m pytest -m serial $(ARGS); alone=$$?; \
	case $$together,$$alone in 0,0|0,5|5,0) exit 0;; *) exit 1;; esac
endef

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(DEMO_READY) ## Run the demo: server, worker, beat and real runs (ARGS=--exit ends by itself)
	$(PY) manage.py demo $(ARGS)

.PHONY: test
test: $(DEV_READY) ## Run every test, on SQLite and on PostgreSQL (ARGS="-k name")
	@$(MAKE) --no-print-directory test-sqlite; sqlite=$$?; \
	$(MAKE) --no-print-directory test-postgres; postgres=$$?; \
	exit $$((sqlite + postgres > 0))

.PHONY: test-sqlite
test-sqlite: $(DEV_READY) ## Run every test on SQLite
	@echo "== Tests on SQLite"
	$(call run_suite,sqlite)

.PHONY: test-postgres
test-postgres: $(DEV_READY) ## Run every test on PostgreSQL (DATABASE_URL, or one that is started)
	@echo "== Tests on PostgreSQL"
	$(call run_suite,postgres)

# The rest of the suite is run on SQLite and PostgreSQL; most of its files pass here, too (ARGS=tests/test_cases.py).
MARIADB_TESTS := tests/store tests/runtime tests/concurrency tests/doors tests/kit tests/rest

.PHONY: test-mariadb
test-mariadb: ARGS = $(MARIADB_TESTS)
test-mariadb: $(MARIADB_READY) ## Run most tests on MariaDB (Debian: mariadb-server, libmariadb-dev)
	@echo "== Tests on MariaDB"
	$(call run_suite,mariadb)

.PHONY: coverage
coverage: $(DEV_READY) ## Run the tests on SQLite and show what they do not reach
	TEST_DB=sqlite $(PY) -m coverage run -m pytest $(ARGS)
	$(PY) -m coverage combine --quiet
	$(PY) -m coverage report

.PHONY: lint
lint: $(DEV_READY) ## Check style, formatting and who imports whom
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(VENV)/bin/lint-imports --no-cache

.PHONY: types
types: $(DEV_READY) ## Check the types
	$(PY) -m mypy django_workflow demo_project

.PHONY: docs
docs: $(DOCS_READY) ## Build the site of the documentation into build/docs; any warning is an error
	$(PY) docs/generate.py --check
	$(PY) -m sphinx -q -E -W --keep-going -b html docs build/docs
	@echo "The documentation is in build/docs/index.html"

.PHONY: newcomer
newcomer: $(DEV_READY) ## Follow the tutorial in a new environment with nothing but the package, and say how long it took
	@rm -rf build/newcomer && $(PY) -m venv build/newcomer
	@begun=$$(date +%s); build/newcomer/bin/python -m pip install -qq --disable-pip-version-check . \
	&& NEWCOMER_PYTHON=$(abspath build/newcomer/bin/python) TEST_DB=sqlite $(PY) -m pytest -q tests/test_tutorial.py \
	&& echo "From an empty folder to a finished run in the admin: $$(( $$(date +%s) - begun )) s"

.PHONY: bench
bench: $(DEV_READY) ## Measure against the machine's own limit (ARGS="--help")
	$(PY) -m bench $(ARGS)

.PHONY: format
format: $(DEV_READY) ## Mend what the tools can mend
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

.PHONY: rest-reference
rest-reference: $(DEV_READY) ## Make docs/reference/rest.md again from the code of the REST API
	$(PY) -m tests.rest.reference

.PHONY: messages
messages: $(DEV_READY) ## Gather texts into the catalogues, and compile these (needs GNU gettext)
	cd django_workflow && $(abspath $(PY)) -m django makemessages --locale de --locale es --no-wrap --add-location file --no-obsolete
	cd django_workflow && $(abspath $(PY)) -m django compilemessages

.PHONY: env
env: $(DEV_READY) ## Make the environment for development, without running anything

.PHONY: clean
clean: ## Remove what tools and the demo left behind, but not the environment
	rm -rf .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .run build dist
	rm -f *.sqlite3 *.sqlite3-journal *.sqlite3-shm *.sqlite3-wal
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: clean-all
clean-all: clean ## Remove the environment too
	rm -rf $(VENV)

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Python 3.11 or newer is needed, and $(PYTHON) is not: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(DEMO_READY): pyproject.toml | $(PY)
	@echo "Installing the demo into $(VENV) (once)"
	@$(PY) -m pip install -qq --disable-pip-version-check -e '.[demo]'
	@touch $@

$(DEV_READY): pyproject.toml | $(PY)
	@echo "Installing everything for development into $(VENV) (once, about a minute)"
	@$(PY) -m pip install -qq --disable-pip-version-check -e '.[dev]'
	@touch $(DEMO_READY) $@

# With the demo's packages, whose settings the pages that follow from the code are made under.
$(DOCS_READY): pyproject.toml | $(PY)
	@echo "Installing what builds the documentation into $(VENV) (once)"
	@$(PY) -m pip install -qq --disable-pip-version-check -e '.[demo,docs]'
	@touch $(DEMO_READY) $@

$(MARIADB_READY): pyproject.toml | $(DEV_READY)
	@echo "Installing the driver of MariaDB into $(VENV) (once; it is compiled, against libmariadb-dev)"
	@$(PY) -m pip install -qq --disable-pip-version-check -e '.[mariadb]'
	@touch $@
