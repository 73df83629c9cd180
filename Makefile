# make sweep       accuracy against gap: sets up .venv, runs the default sweep, draws table and figure
# make test        lint and the tests, in the same environment
# make test-all    and the long checks
PYTHON ?= python3
PYTEST_FLAGS ?= -n auto
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: sweep test test-all lint clean

sweep: $(READY)
	$(BIN)/python -m experiments.gap_sweep $(FLAGS)

test: lint
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

test-all: lint
	$(BIN)/python -m pytest -m "campaign or not campaign" $(PYTEST_FLAGS)

lint: $(READY)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

# Made anew when what it is made from is newer; a half-made one has no .ready.
$(READY): requirements.lock setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than Python 3.11: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

clean:
	rm -rf $(VENV)
