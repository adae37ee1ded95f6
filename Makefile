# What CI runs is what these verbs run. Each sets up .venv first if it is not there.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
DEVICE_PYTHON ?= python3.10
DEVICE_VENV ?= .venv-device
DEVICE_TESTS := tests/test_values.py tests/test_config.py tests/test_registry.py tests/test_console.py \
	tests/wire tests/bundle tests/codecs tests/policies tests/machines tests/runtime tests/transport tests/edge

# The coder in C is built at installation.
NATIVE := setup.py codecs/_native.c codecs/_neighbours.h codecs/_streams.h

.PHONY: demo test test-device lint bench test-all test-aarch64 wheels check-wheels fuzz clean

$(VENV)/.ready: pyproject.toml $(NATIVE)
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
	$(MAKE) test-aarch64
	$(MAKE) check-wheels
	$(MAKE) fuzz

# A million damaged messages and a million damaged payloads.
fuzz: $(VENV)/.ready
	$(BIN)/python tests/fuzz/fuzz_wire.py --count 1000000
	$(BIN)/python -W error -m tests.fuzz.fuzz_codecs --count 1000000

# Has everything that a device needs wheels for Linux on aarch64?
check-wheels: $(VENV)/.ready
	PYTHON=$(BIN)/python .ci/check-wheels

# The codecs on aarch64 under qemu-user; says so and leaves it out where that is not installed.
test-aarch64: $(VENV)/.ready
	PYTHON=$(BIN)/python .ci/test-aarch64

wheels: $(VENV)/.ready
	PYTHON=$(BIN)/python .ci/wheels dist x86_64 aarch64

# The rooms that run on a device, in an environment without torch and onnx.
$(DEVICE_VENV)/.ready: pyproject.toml $(NATIVE)
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
	$(BIN)/python benchmarks/codecs.py --accuracy --temporal --json out/codecs.json
	$(BIN)/python benchmarks/entropy_coders.py --json out/entropy_coders.json
	$(BIN)/python benchmarks/partition.py --json out/partition.json
	$(BIN)/python benchmarks/early_exit.py --json out/early_exit.json --picture out/early_exit.png
	$(BIN)/python benchmarks/prefilter.py --json out/prefilter.json
	$(BIN)/python benchmarks/rate_accuracy.py --small --json out/rate_accuracy.json --picture out/rate_accuracy.png
	$(BIN)/python benchmarks/prediction.py --json out/prediction.json
	$(BIN)/python benchmarks/link_step.py --json out/link_step.json

clean:
	rm -rf $(VENV) $(DEVICE_VENV) .aarch64 out build dist *.egg-info
