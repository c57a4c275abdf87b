# Everything runs in .venv, built from the locks in requirements/. The first call takes minutes, the next ones none.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
CONFIG ?= jobs/configs/local.yaml

BIN := .venv/bin
# Each stamp is named after what was installed, so a changed lock is noticed and an unchanged one is not, whatever the file times.
PACKAGES := .venv/packages-$(firstword $(shell cat $(sort $(wildcard requirements/*.txt)) | cksum))
PROJECT := .venv/project-$(firstword $(shell cksum < pyproject.toml))
# deepspeed is built in isolation, where no torch is in sight: with one, its setup.py fails under a recent setuptools.
# Older pips build in isolation only when told to.
# The constraint pins what builds it; older pips read the first name, newer ones the second.
PIP := DS_BUILD_OPS=0 PIP_CONSTRAINT=requirements/build.txt PIP_BUILD_CONSTRAINT=requirements/build.txt \
	$(BIN)/python -m pip install -qq --disable-pip-version-check --use-pep517 --no-deps

# One thread a process: they share the cores with each other. Compiled modules are kept, which saves each new process seconds.
PYTEST := env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 GOMP_SPINCOUNT=1000 $(BIN)/python -m pytest

.PHONY: help run test quick on-ray long chaos bench docs lint install clean
.DELETE_ON_ERROR:

help: ## Say what there is to make (this)
	@sed -n 's/^\([a-z-]*\):[^#]*## /  make \1\t/p' $(firstword $(MAKEFILE_LIST))

run: install ## Run all jobs on this machine; CONFIG=jobs/configs/NAME.yaml takes another profile
	$(BIN)/dualrec run --config $(CONFIG)

test: lint ## Check the code, then run quick and on-ray side by side: what CI runs for every change
	$(MAKE) --no-print-directory -j 2 quick on-ray

# Shown when they have ended, so that they do not mix with those on Ray.
quick: install ## Run the tests that need no Ray: under 4 minutes beside the others
	@mkdir -p .pytest_cache
	@$(PYTEST) -p no:cacheprovider -m 'not ray and not end_to_end and not chaos and not long' \
		> .pytest_cache/quick.txt 2>&1; code=$$?; cat .pytest_cache/quick.txt; exit $$code

on-ray: install ## Run the tests on a local Ray cluster, and whole jobs
	$(PYTEST) -m '(ray or end_to_end) and not chaos and not long'

chaos: install ## Kill the nightly job at every point, its workers and its store, and see that the next run mends it: 16 minutes
	$(PYTEST) -m chaos

long: install ## Run what the tests leave out for its length: more engines, more systems, an endpoint of vLLM's own: 22 minutes
	$(PYTEST) -m long

bench: install ## Run every benchmark and write docs/benchmarks.md: two hours, on a machine that does nothing else
	$(BIN)/python scripts/bench.py

docs: install ## Write what is made from the code: docs/settings.md and deploy/grafana/dualrec.json
	$(BIN)/python scripts/make_settings_reference.py
	$(BIN)/python scripts/make_dashboard.py

lint: install ## Check style, layout and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(PROJECT) ## Make .venv with all that the project needs

clean: ## Remove .venv and the caches of the tools; leaves the workspace
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
	find dualrec jobs scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(PROJECT): $(PACKAGES)
	@$(PIP) --no-build-isolation --editable .
	@touch $@

# Always from nothing: what a killed install or an older lock left behind does not mix with this one.
$(PACKAGES):
	@test -n "$(PYTHON)" || { echo "No Python here: install Python 3.11, or name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and \
		f"dualrec needs Python 3.11, $(PYTHON) is {sys.version.split()[0]}: make PYTHON=/path/to/python3.11")'
	@echo "Making .venv: about 4 GB of packages, 2 to 10 minutes, this once."
	@rm -rf .venv
	@"$(PYTHON)" -m venv .venv
	@echo "  1 of 2: torch"
	@$(PIP) -r requirements/build.txt
	@$(PIP) "$$(grep '^torch==' requirements/cpu.txt)" 2> .venv/torch.log || { \
		grep -q 'No matching distribution' .venv/torch.log || { cat .venv/torch.log >&2; exit 1; }; \
		echo "  pip finds no CPU build of torch: taking the default one, some 4 GB more. For the smaller one, stop here,"; \
		echo "  set PIP_EXTRA_INDEX_URL to PyTorch's index of CPU wheels (pytorch.org/get-started) and run make again."; \
		$(PIP) -r requirements/torch-default.txt; }
	@echo "  2 of 2: all else"
	@grep -v '^torch==' requirements/cpu.txt > .venv/without-torch.txt
	@$(PIP) -r .venv/without-torch.txt -r requirements/dev.txt
	@touch $@
