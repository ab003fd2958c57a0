# Every target does its own set-up in .venv: `make demo` and `make test` work on a fresh machine.
.PHONY: demo test coverage builds serving fuzz docs lint format clean

PYTHON ?= python3
WORKERS ?= 2
MINUTES ?= 10
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
GPU := $(shell nvidia-smi -L 2>/dev/null | head -n 1)
comma := ,

# Without a GPU PyTorch is chosen first, and then kept: no later requirement may replace it.
TORCH := $(if $(GPU),torch>=2.11,torch==2.13.0)
CUDA := $(if $(GPU),$(comma)cuda)

demo: $(VENV)/demo.stamp
	$(BIN)/python examples/digits.py

test: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# The same, and which lines no test runs: it takes a third longer.
coverage: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --cov --cov-report=term-missing

# Every row in every dtype, one by one, by the builder of TensorRT for RTX: four minutes on two cores.
builds: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m builds -rP tests

# What runs on Ray, on a real cluster of two workers; the other tests do not need it.
serving: $(VENV)/dev.stamp $(VENV)/serving.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/serving

# Random programs against eager, with new seeds each time: `make fuzz MINUTES=30`. What is found is
# printed as Python, shrunk; SEED= repeats a run.
fuzz: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz.search $(MINUTES) $(SEED)

# The documentation, into site/, when every block of it has run.
docs: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/docs
	$(BIN)/mkdocs build

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy trtnn

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

$(VENV)/torch.stamp:
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) "$(TORCH)"
	echo "$(TORCH)" > $(VENV)/constraints.txt
	touch $@

$(VENV)/%.stamp: $(VENV)/torch.stamp pyproject.toml
	$(INSTALL) --constraint $(VENV)/constraints.txt --editable ".[$*$(CUDA)]"
	touch $@

clean:
	rm -rf $(VENV) site
