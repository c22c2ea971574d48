# harmbench: make run | make quick | make test | make check | make clean
#
# The first call makes .venv and installs into it. Torch is what constraints.txt names; choose another build or version
# with TORCH, and pip's own options with PIP_ARGS:
#
#     make run TORCH="torch==2.9.1 torchvision==0.24.1" PIP_ARGS="--extra-index-url URL"

PYTHON ?= python3
TORCH ?=
PIP_ARGS ?=
SUITE ?= vision
RUN_ARGS ?= --metrics all

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# With TORCH, the constraints on torch fall away.
CONSTRAINTS := $(if $(TORCH),,-c constraints.txt)

.PHONY: run quick test check format docs smoke examples clean

run: $(STAMP)
	$(BIN)/harmbench run $(SUITE) $(RUN_ARGS)
	$(BIN)/harmbench report --format md

# For the inner loop: one case of each test, without end-to-end tests and slow ones.
quick: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/python -m pytest --quick -n 2 --dist loadscope

test: check
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/readme.py

# The committed examples under reports/ anew, and README's results with them: about an hour on two cores.
examples: $(STAMP)
	$(BIN)/python docs/examples.py $(EXAMPLES)

smoke: $(STAMP)
	$(BIN)/harmbench run smoke
	$(BIN)/harmbench report --format md

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "harmbench needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) $(CONSTRAINTS) $(TORCH) -e '.[dev]'
	touch $(STAMP)
