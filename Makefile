# Everything happens in .venv; each target sets up what it needs.
# The first of these that runs and is new enough; the pins of constraints.txt are for 3.11.
PYTHON ?= $(shell for name in python3.11 python3; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
VENV := .venv
BIN := $(VENV)/bin
# Processes that share the tests, a file of tests each; more threads than cores spin and wait.
WORKERS ?= 2
# Quiet and offline: no analytics, no update checks.
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY := false
export PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS := false

.PHONY: install services demo test test-slow lint format bench bench-model bench-finetune bench-ablations wheel clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

# PostgreSQL/PostGIS for the tests of a full STAC API. Without root or apt those tests are skipped, and say so.
services:
	@if [ -x /usr/lib/postgresql/15/bin/initdb ] && ls /usr/share/postgresql/15/extension/postgis.control >/dev/null 2>&1; then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql-15 postgresql-15-postgis-3 >/dev/null \
	  || echo "PostgreSQL could not be installed: the tests marked 'services' will be skipped"; \
	else echo "PostgreSQL/PostGIS absent: the tests marked 'services' will be skipped"; fi

demo: install
	$(BIN)/terrascope demo --output out/demo

test: install services
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow and not online and not gpu" $(PYTEST_ARGS)

test-slow: install services
	$(BIN)/python -m pytest -m "slow" --timeout 1800 --session-timeout 10800 $(PYTEST_ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	find terrascope flows -name '*.py' | sort | xargs $(BIN)/numpydoc lint

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install
	$(BIN)/python -m benchmarks

# Below half an hour on two cores. MODEL=folder examines another model than the packaged one; FIT=600
# calibrates it on so many questions of the validation split first.
bench-model: install
	$(BIN)/python benchmarks/bench_model.py $(if $(MODEL),--model $(MODEL)) $(if $(FIT),--fit $(FIT)) $(if $(ITEMS),--items $(ITEMS))

# The long lane: trainings. Both go on where they were stopped, fold by fold and arm by arm; STEPS=n and
# ITEMS=n shorten them.
bench-finetune: install
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_finetune.py $(if $(MODEL),--model $(MODEL)) $(if $(STEPS),--steps $(STEPS))

bench-ablations: install
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_ablations.py $(if $(MODEL),--model $(MODEL)) $(if $(STEPS),--steps $(STEPS)) $(if $(ITEMS),--items $(ITEMS))

wheel: install
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

clean:
	rm -rf out dist build .mypy_cache .ruff_cache
