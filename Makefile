# `make run` and `make test` do all the set-up on a fresh machine: Python 3.11+, a C++ compiler.
# PYTHON=/path/python uses an existing environment and its torch instead of .venv.
VENV := .venv
# Two processes run the tests, each a file at a time: most tests compute on one core. WORKERS=0 is one after the other.
WORKERS ?= 2
ARGS ?= suite=torchbench model=resnet18,alexnet,nanogpt --multirun measure=quick

ifdef PYTHON
RUN := $(PYTHON)
READY :=
else
PYTHON_BASE ?= python3
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
endif

.PHONY: run test lint help clean

run: $(READY)  ## run the main job, or anything: make run ARGS="model=mlp"
	$(RUN) -m runner $(ARGS)

test: $(READY)  ## the checks and tests that every change must pass; MARKS="services" chooses others
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(RUN) -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(if $(MARKS),-m "$(MARKS)") $(TESTS)

lint: $(READY)  ## style and types only
	$(RUN) -m ruff check .
	$(RUN) -m mypy

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON_BASE) -m venv $(VENV)
	$(RUN) -m pip install -q -c constraints.txt torch==2.13.0
	$(RUN) -m pip install -q -c constraints.txt -e '.[suites,onnx,quantization,history,report,slurm,joblib,dev]'
	touch $@

clean:  ## remove the environment
	rm -rf $(VENV)

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'
