# Forebay, from a fresh clone: only Python 3.11+ is needed. `make` lists what there is.
VENV := .venv
PY := $(VENV)/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo up check test browser lock example-history plan-picture bench bench-planning push-time kills lives fuzz api milp reliability clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/.dev ## Install everything for work on Forebay into .venv (again only after a dependency changed)

demo: $(VENV)/.demo ## The main job on a real trace, in about 4 minutes; Ctrl-C stops it. DEMO_ARGS="--prefect-port 4300 …", KEEP=1
	@exec $(PY) -m deployments.demo $(DEMO_ARGS)

up: $(VENV)/.demo ## Run Forebay on this host: Prefect, runner, receiver, reconciler. UP_ARGS="--web-port 8090 …"
	@exec $(PY) -m deployments.up $(UP_ARGS)

check: $(VENV)/.dev ## Lint, types, import contracts and the quick unit tests: the fast loop
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy
	$(PY) -m pytest tests/unit -m "not slow" -n 2 --hypothesis-profile ci

test: $(VENV)/.dev ## All checks and every test that needs no browser; 12 to 17 minutes on 2 cores
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy
	$(PY) -m pytest tests/rules tests -n 2 --dist loadfile --no-loadscope-reorder --hypothesis-profile ci --ignore tests/orchestration --ignore tests/browser --durations 10 $(TEST_ARGS)
	$(PY) -m pytest tests/orchestration --durations 5 # a real stack in real time: it has the machine to itself

browser: $(VENV)/.dev ## The pages and the Prefect form in a real browser (needs chromium)
	$(PY) -m pytest -m browser tests/browser

lock: $(VENV)/.dev ## Compile constraints.txt anew from pyproject.toml
	$(PY) -m pip install --quiet uv
	$(PY) -m uv pip compile pyproject.toml --universal --python-version 3.11 --extra prefect --extra prophet --extra lstm --extra notify --group dev \
	  --upgrade --no-emit-index-url --no-annotate --no-header --output-file constraints.txt

example-history: $(VENV)/.demo ## Make examples/history.csv and actual.csv anew from the trace
	$(PY) examples/make_history.py

plan-picture: $(VENV)/.demo ## Draw docs/plan.svg anew from examples/
	$(VENV)/bin/forebay plan examples/change.yaml --workloads examples/workloads.yaml --history examples/history.csv \
	  --format html | $(PY) examples/picture_of.py > docs/plan.svg

bench: $(VENV)/.demo ## Forebay against its peers and the oracle, on recorded demand. FOREBAY_TRACES=folder, BENCH_ARGS="--services 4"
	$(PY) -m benchmarks.replay $(BENCH_ARGS)

bench-planning: $(VENV)/.demo ## Seconds of forecast and plan: 14 days of 5-minute data, three resources
	$(PY) -m benchmarks.planning

push-time: $(VENV)/.dev ## How exactly a push fires: 100 activations against a callback in a process of its own. BENCH_ARGS="--activations 500"
	$(PY) -m benchmarks.push_time $(BENCH_ARGS)

kills: $(VENV)/.dev ## 50 kill -9 on real processes at points of a seed, in about 20 minutes. KILLS_ARGS="--seed 2 --delay 150"
	$(PY) -m benchmarks.kills --kills 50 $(KILLS_ARGS)

lives: $(VENV)/.dev ## 10,000 random lives of changes, each rule asserted after each step. FOREBAY_LIVES=5000 TEST_ARGS="--hypothesis-seed 2"
	FOREBAY_LONG=1 $(PY) -m pytest tests/rules/test_state_machine.py --timeout 0 $(TEST_ARGS)

fuzz: $(VENV)/.dev ## 100,000 mutated webhooks: no 5xx, none accepted unsigned, none refused that changed anything. FOREBAY_WEBHOOKS=5000
	FOREBAY_LONG=1 $(PY) -m pytest -s tests/security/test_fuzz.py --timeout 0 $(TEST_ARGS)

api: $(VENV)/.dev ## Requests made up from /openapi.json: no 5xx, no answer that the document does not name. FOREBAY_API_EXAMPLES=500
	FOREBAY_API_EXAMPLES=$${FOREBAY_API_EXAMPLES:-200} $(PY) -m pytest -s tests/adapters/test_web_openapi.py --timeout 0 $(TEST_ARGS)

milp: $(VENV)/.dev ## 9,600 plans against an independent solver of the same problem, in about 4 minutes of one core
	FOREBAY_LONG=1 $(PY) -m pytest tests/unit/test_planning_milp.py tests/unit/test_planning_milp_whole.py --timeout 0 $(TEST_ARGS)

reliability: $(VENV)/.dev ## What Forebay does about each fault, into docs/reliability.md
	$(PY) -m benchmarks.faults --write

clean: ## Remove the environment, caches and local data
	rm -rf $(VENV) var dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# The stamps: a repeat is instant until what is installed from changes.
$(VENV)/.demo: pyproject.toml constraints.txt | $(PY)
	@echo 'installing what Forebay needs into $(VENV), once; this takes a minute or two'
	$(PY) -m pip install --quiet --upgrade 'pip>=25.1'
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[prefect,notify]' --group sandbox
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(PY)
	@echo 'installing what work on Forebay needs into $(VENV), once; this takes a minute or two'
	$(PY) -m pip install --quiet --upgrade 'pip>=25.1'
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[prefect,prophet,lstm,notify]' --group dev
	@touch $(VENV)/.demo $@

# The first Python that runs, is new enough and can make an environment; the tested versions come first.
$(PY):
	@for python in $(PYTHON) python3.11 python3.12 python3.13 python3 python; do \
	  if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "making $(VENV) with $$python ($$($$python --version))"; \
	    exec $$python -m venv $(VENV); \
	  fi; \
	done; \
	echo "no Python 3.11 or newer with the venv module was found: install one (on Debian: python3 and python3-venv)," \
	  "or name it: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3" >&2; exit 1
