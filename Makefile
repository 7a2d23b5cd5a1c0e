# Everything runs from .venv, installed from locks with hashes.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
TOOLS  := $(VENV)/.tools
AGENTS := $(VENV)/.frameworks
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help install demo dev example test check format bench bench-revocation soak fuzz mutate advisories lock screenshot clean

help:           ## what can be done here
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## install Remit and what it needs into .venv
$(STAMP): requirements.lock data.lock pyproject.toml
	@echo "Installing into $(VENV) (pinned, with hashes) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --no-deps --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --require-hashes --no-build-isolation -r data.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

demo: install   ## the guided tour, on real servers (KEEP=1 leaves them up)
	@$(BIN)/remit demo $(if $(KEEP),--keep)

dev: install    ## the embedded stack and a worker in the foreground
	@$(BIN)/remit dev

example: $(AGENTS) ## an agent somebody else wrote, governed: NAME=openai_agents, pydantic_ai, langgraph or mcp
	@$(BIN)/python -m examples $(or $(NAME),openai_agents)

$(AGENTS): frameworks.lock $(STAMP)
	@echo "Installing the agents' frameworks (pinned, with hashes) …"
	@$(PIP) install --no-deps --require-hashes -r frameworks.lock
	@touch $@

test: $(AGENTS) ## every test, on real servers; they often wait, so three files run at a time
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

check: $(AGENTS) ## format, lint, types, layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: install ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: install  ## governed against ungoverned, in one run; writes bench.json
	@$(BIN)/python -m benchmarks

bench-revocation: install ## 200 revocations of 1, 20 and 200 running tasks (over an hour; REVOCATIONS=…)
	@$(BIN)/python -m benchmarks --only revoke --only past --revocations $(or $(REVOCATIONS),200)

soak: install   ## 200 tasks, random stops and kills for ten minutes, then the invariants (SEED=…)
	@$(BIN)/python -m tests.soak $(if $(SEED),--seed $(SEED))

$(TOOLS): tools.lock $(STAMP)
	@$(PIP) install --no-deps --require-hashes -r tools.lock
	@touch $@

fuzz: $(TOOLS)  ## every reader of signed documents against random input (SECONDS=…)
	@$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60)

mutate: $(TOOLS) ## take every check away in turn; a test must notice (MODULES="chain approvals"; all: about an hour)
	@$(BIN)/python -m tests.mutation $(MODULES)

advisories: $(TOOLS) ## known vulnerabilities of what is pinned (needs an index that answers)
	@$(BIN)/pip-audit --strict --require-hashes --disable-pip --requirement requirements.lock

lock:           ## pin again what pyproject.toml asks for (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --extra embedded --extra service --extra otlp --group dev pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --extra service --extra otlp -c requirements.lock pyproject.toml deploy/requirements.in -o deploy/requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --extra embedded --extra service --group dev --group frameworks -c requirements.lock pyproject.toml \
	  -o frameworks.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --group tools -c requirements.lock -o tools.lock

screenshot: install ## a task in the Temporal UI as docs/images/temporal-ui.png (needs chromium; URL=…)
	@$(BIN)/python docs/screenshot.py "$(URL)" docs/images/temporal-ui.png

clean:          ## remove what was installed and generated
	rm -rf $(VENV) .remit build dist bench.json
