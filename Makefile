# Needs python3 >= 3.11 (with venv and pip), make and a package index; everything else comes from wheels.

PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
PIP = PYTHONWARNINGS=ignore $(BIN)/python -m pip --disable-pip-version-check
PACKAGING = setup.cfg pyproject.toml testproject/requirements.txt
export PIP_CACHE_DIR = $(CURDIR)/$(VENV)/cache

.PHONY: test images chaos schedules oracle bench budget kill-times messages demo docs lint clean

# The whole suite on PostgreSQL, then what touches the database on SQLite; both with a real Valkey. Most of its time
# it waits for real processes, so four shares run side by side, each with servers of its own.
SIDE_BY_SIDE = -n 4 --dist worksteal
test: $(VENV)/installed-test
	DJANGO_JOBS_TEST_DB=postgresql $(BIN)/python -m pytest -q $(SIDE_BY_SIDE) $(ARGS)
	DJANGO_JOBS_TEST_DB=sqlite $(BIN)/python -m pytest -q -m "django_db and not once" $(SIDE_BY_SIDE) $(ARGS)

# The pictures in docs/images, of every page in light, dark and on a phone; needs a Chromium.
images: $(VENV)/installed-test
	DJANGO_JOBS_IMAGES=1 DJANGO_JOBS_TEST_DB=postgresql $(BIN)/python -m pytest -q tests/browser/test_pages.py

# Everything breaks at random for MINUTES (10), by a SEED that is printed.
chaos: $(VENV)/installed-test
	CHAOS_SECONDS=$$(($(or $(MINUTES),10) * 60)) CHAOS_SEED=$(SEED) $(BIN)/python -m pytest -q -s tests/faults/test_chaos.py

# Schedules while one of eight workers is killed each second, for MINUTES (5), by a SEED that is printed.
schedules: $(VENV)/installed-test
	SCHEDULES_SECONDS=$$(($(or $(MINUTES),5) * 60)) SCHEDULES_SEED=$(SEED) $(BIN)/python -m pytest -q -s tests/faults/test_schedules.py -k killed_workers

# Next moments of random cron expressions against another implementation, by a SEED that is printed.
oracle: $(VENV)/installed-test
	CRON_CASES=$(or $(CASES),100000) CRON_SEED=$(SEED) $(BIN)/python -m pytest -q -s tests/unit/test_cron_oracle.py

# Ours and its peers side by side, for 25 minutes on two quiet cores. PEERS=celery (5 minutes), ONLY=drain,latency,
# RUNS=5, SECONDS=4 and QUICK=1 make it shorter or longer; without any of them it writes docs/benchmarks.md.
bench: $(VENV)/installed-test
	$(BIN)/python -m benchmarks $(if $(PEERS),--peers $(PEERS)) $(if $(ONLY),--only $(ONLY)) $(if $(RUNS),--runs $(RUNS)) \
		$(if $(SECONDS),--seconds $(SECONDS)) $(if $(QUICK),--quick) $(if $(WRITE),--write)

# Where the time of a job goes; writes docs/explanation/speed.md.
budget: $(VENV)/installed-test
	$(BIN)/python -m benchmarks.budget $(if $(RUNS),--runs $(RUNS)) $(if $(JOBS),--jobs $(JOBS))

# How soon a job runs again whose worker is killed, beside Celery, RQ and Dramatiq; written into the docs.
kill-times: $(VENV)/installed-test
	$(BIN)/python benchmarks/kill.py --seconds $(or $(SECONDS),180) --write

# Brings the translations up to date with the code; what is new is then to be translated.
messages: $(VENV)/installed-test
	DJANGO_SETTINGS_MODULE=django.conf.global_settings $(BIN)/python -m tests.translations

# The site, a worker and real input; with ONCE=1 the main job once, then exit.
demo: $(VENV)/installed-demo
	$(BIN)/python testproject/demo.py $(if $(ONCE),--once)

docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx -W -b html docs docs/_build

lint: $(VENV)/installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) .venv-bench .tox build dist docs/_build *.egg-info .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q --upgrade pip

$(VENV)/installed-test: $(PACKAGING) | $(BIN)/python
	$(PIP) install -q -e .[test,embedded] -r testproject/requirements.txt
	touch $@

$(VENV)/installed-demo: $(PACKAGING) testproject/requirements.txt | $(BIN)/python
	$(PIP) install -q -e .[embedded] -r testproject/requirements.txt
	touch $@

$(VENV)/installed-docs: $(PACKAGING) | $(BIN)/python
	$(PIP) install -q -e .[docs]
	touch $@

$(VENV)/installed-lint: $(PACKAGING) | $(BIN)/python
	$(PIP) install -q -e . ruff import-linter
	touch $@
