# make sweep       accuracy against gap: sets up .venv, runs the default sweep, draws table and figure
# make test        lint and the tests, in the same environment
# make test-all    and the long checks
# make faults      kills, stops and damages running sweeps: half an hour, one after another
# make docs        writes docs/cells.md and docs/tasks.md from the code
# make torch       trains the PyTorch example beside our LSTM; in an environment with PyTorch
# make tpu-compile compiles every cell's training step by the TPU compiler; needs no TPU
PYTHON ?= python3
PYTEST_FLAGS ?= -n auto --dist loadgroup
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TPU_VENV := .venv-tpu
TPU_READY := $(TPU_VENV)/.ready
TORCH_VENV := .venv-torch
TORCH_READY := $(TORCH_VENV)/.ready

.PHONY: sweep test test-all faults lint docs torch tpu-compile clean

sweep: $(READY)
	$(BIN)/python -m experiments.gap_sweep $(FLAGS)

test: lint
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

test-all: lint
	$(BIN)/python -m pytest -m "not faults and not torch" $(PYTEST_FLAGS)

faults: $(READY)
	$(BIN)/python -m pytest -m faults -s $(FAULTS_FLAGS)

docs: $(READY)
	$(BIN)/python -m lstm_jax.cells_page > $(VENV)/cells.md
	$(BIN)/python -m lstm_jax.tasks_page > $(VENV)/tasks.md
	mv $(VENV)/cells.md $(VENV)/tasks.md docs/

lint: $(READY)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

tpu-compile: $(TPU_READY)
	$(TPU_VENV)/bin/python -m launch.tpu_compile

torch: $(TORCH_READY)
	$(TORCH_VENV)/bin/python -m pytest -m torch -s tests/test_torch.py

# Its own environment: PyTorch is large, and nothing else needs it.
$(TORCH_READY): requirements.lock setup.cfg
	rm -rf $(TORCH_VENV)
	$(PYTHON) -m venv $(TORCH_VENV)
	$(TORCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(TORCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[torch]'
	touch $@

# Its own environment: the TPU compiler is of the very release of JAX that the lock names.
$(TPU_READY): requirements.lock
	rm -rf $(TPU_VENV)
	$(PYTHON) -m venv $(TPU_VENV)
	$(TPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  -r requirements.lock 'jax[tpu]'
	touch $@

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
	rm -rf $(VENV) $(TPU_VENV) $(TORCH_VENV)
