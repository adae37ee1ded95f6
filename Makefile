# What CI runs is what these verbs run. Each sets up .venv first if it is not there.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
DEVICE_PYTHON ?= python3.10
DEVICE_VENV ?= .venv-device
DEVICE_TESTS := tests/test_values.py tests/test_config.py tests/test_registry.py tests/test_console.py \
	tests/wire tests/bundle tests/codecs tests/policies tests/machines tests/runtime tests/transport tests/edge

.PHONY: demo test test-device lint bench test-all clean

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

demo: $(VENV)/.ready
	$(BIN)/python -m examples.digits.demo

test: $(VENV)/.ready
	$(BIN)/python -m pytest -m 'not slow and not ray'

test-all: $(VENV)/.ready
	$(BIN)/python -m pytest

# The rooms that run on a device, in an environment without torch and onnx.
$(DEVICE_VENV)/.ready: pyproject.toml
	$(DEVICE_PYTHON) -m venv $(DEVICE_VENV)
	$(DEVICE_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(DEVICE_VENV)/bin/python -m pip install --quiet -e '.[dev-device]'
	touch $@

test-device: $(DEVICE_VENV)/.ready
	$(DEVICE_VENV)/bin/python -m pytest -m 'not slow' $(DEVICE_TESTS)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.ready
	$(BIN)/python benchmarks/overhead.py --json out/overhead.json
	test -d out/demo/bundle || $(MAKE) demo
	$(BIN)/python benchmarks/edge_footprint.py --json out/edge_footprint.json
	$(BIN)/python benchmarks/shaper.py --json out/shaper.json
	$(BIN)/python benchmarks/partition.py --json out/partition.json
	$(BIN)/python benchmarks/link_step.py --json out/link_step.json

clean:
	rm -rf $(VENV) $(DEVICE_VENV) out build dist *.egg-info
