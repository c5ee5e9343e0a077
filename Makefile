# Everything a developer runs; `make help` lists it. Needs make and Python 3.11 with venv, nothing else, not even HOME.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
SOURCES := gdht admin tests benchmarks setup.py
PYTEST_ARGS ?=
PYTEST_WORKERS ?= 2
CONFIG ?= conf/node.ini
SIMULATE_MINUTES ?= 10
SOAK_ROUNDS ?= 100
STEADY_MINUTES ?= 60
BENCH_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run ring test lint types unit format bench storm stalls overload steady simulate soak constraints clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

run: $(INSTALLED) ## serve one node with conf/node.ini (CONFIG=FILE for another)
	exec $(BIN)/gdht serve -c $(CONFIG)

ring: $(INSTALLED_DEV) ## serve the three nodes of the Procfile, run by honcho
	@mkdir -p build
	@sed 's/^# *\(node[0-9]*:\)/\1/' Procfile > build/Procfile.ring
	exec $(BIN)/honcho start -f build/Procfile.ring -d .

test: lint types unit ## everything that CI checks: lint, types, tests

lint: $(INSTALLED_DEV) ## ruff: rules and format
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

# mypy knows nothing of package_dir, so it is shown a tree in which admin/ stands where it is installed.
types: $(INSTALLED_DEV) ## mypy, strict
	@rm -rf build/typed && mkdir -p build/typed/gdht
	@ln -s "$(CURDIR)"/gdht/* "$(CURDIR)/admin" build/typed/gdht/
	MYPYPATH=build/typed $(BIN)/mypy -p gdht

# The tests of one file stay together, in order, on one of the workers.
unit: $(INSTALLED_DEV) ## pytest: all tests and doctests (PYTEST_ARGS="-k name" for some)
	$(BIN)/pytest -n $(PYTEST_WORKERS) --dist loadfile $(PYTEST_ARGS)

format: $(INSTALLED_DEV) ## put the sources into shape
	$(BIN)/ruff check --fix-only $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

bench: $(INSTALLED_DEV) ## gets and puts per second beside raw servers and other systems (BENCH_ARGS="--only node"), under 10 minutes
	$(BIN)/python benchmarks/throughput.py --write benchmarks/throughput.md $(BENCH_ARGS)

storm: $(INSTALLED) ## a million puts into one node with a disk: time, memory, restart, expiry (some 30 minutes)
	$(BIN)/python benchmarks/storm.py

stalls: $(INSTALLED) ## how long each thing that a node does holds its event loop (3 minutes at most)
	$(BIN)/python benchmarks/stalls.py

overload: $(INSTALLED) ## a ring gets more than it can serve: latency, refusals, memory, recovery (3 minutes at most)
	$(BIN)/python benchmarks/overload.py --write benchmarks/overload.md

steady: $(INSTALLED) ## a steady load on a ring of three: nothing that a node holds may grow (STEADY_MINUTES=60)
	$(BIN)/python benchmarks/steady.py --minutes $(STEADY_MINUTES)

simulate: $(INSTALLED) ## random histories of simulated rings on all cores (SIMULATE_MINUTES=10)
	$(BIN)/python -m gdht.sim.soak --minutes $(SIMULATE_MINUTES)

soak: $(INSTALLED_DEV) ## kill -9 under write load on five real nodes, again and again (SOAK_ROUNDS=100)
	$(BIN)/python -m tests.e2e.soak --rounds $(SOAK_ROUNDS)

constraints: ## pin the newest versions that fit setup.py; run `make test` afterwards
	rm -rf build/constraints && mkdir -p build
	$(NEW_VENV) build/constraints
	build/constraints/bin/python -m pip --disable-pip-version-check --quiet install -e '.[dev]'
	{ echo '# The exact versions that the tests ran with; made by `make constraints`.'; \
	  build/constraints/bin/python -m pip freeze --all --exclude gdht --exclude pip; } > constraints.new
	mv constraints.new constraints.txt
	rm -rf build/constraints

clean: ## remove what the other targets made, the virtual environment too
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis artifacts
	find gdht admin tests benchmarks -name __pycache__ -type d -exec rm -rf {} +

# `$(NEW_VENV) DIR` makes a virtual environment with the first interpreter that is new enough and can make one.
define NEW_VENV
new_venv() { \
	for python in python3.11 python3; do \
		$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		$$python -m venv "$$1" && return; \
	done; \
	echo 'Python 3.11 or newer with venv is needed: apt-get install python3.11-venv' >&2; return 1; \
}; new_venv
endef

# setuptools comes first and from our pins too: a build in isolation would fetch whichever is newest.
$(INSTALLED): setup.py pyproject.toml constraints.txt
	$(NEW_VENV) $(VENV)
	$(PIP) install -c constraints.txt setuptools wheel
	$(PIP) install -c constraints.txt --no-build-isolation -e .
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	$(PIP) install -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@
