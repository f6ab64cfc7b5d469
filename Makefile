# Each target installs what it needs into $(VENV); only Python 3.11 or later must be present.
PYTHON ?= python3
VENV ?= .venv
comma := ,
BIN := $(VENV)/bin
# Many container images set this variable; every start of Python would then compile torch and
# transformers again, which takes seconds.
unexport PYTHONDONTWRITEBYTECODE
# uv installs the same packages several times faster than pip; pip takes over where uv cannot run
define install
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "prefixcap needs Python 3.11 or later; set PYTHON, for example PYTHON=python3.12" >&2; exit 1; }
	@echo "installing prefixcap$(1) into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv || true
	@UV_FIND_LINKS="$${UV_FIND_LINKS:-$$($(BIN)/python -m pip config list | sed -n "s/.*find-links='\(.*\)'/\1/p" | head -n 1)}" \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.$(1)' \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.$(1)'
	@touch $@
endef

.PHONY: bench test coverage mutants lint docs format clean

bench: $(VENV)/.run ## train the default captioner on drawn scenes, caption, score, draw a grid
	$(BIN)/prefixcap bench --mapper mlp --prefix-len 10 --decoder beam

test: $(VENV)/.test ## run every test
	$(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

coverage: $(VENV)/.reliability ## run every test and print the branch coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n auto --dist worksteal $(PYTEST_ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --sort miss

mutants: $(VENV)/.reliability ## mutate the engine, the statistics and the artifact keys (hours)
	PYTHONPATH=plugins:tests $(BIN)/mutmut run
	$(BIN)/mutmut results

lint: $(VENV)/.lint ## format, lint, spelling, types, import contracts
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.lint ## format the code and apply automatic fixes
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(VENV)/.docs ## build the documentation into site/, warnings as errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## remove what the other targets created
	rm -rf $(VENV) site build dist

$(VENV)/.run: pyproject.toml constraints.txt
	$(call install,)
$(VENV)/.test: pyproject.toml constraints.txt
	$(call install,[test])
$(VENV)/.lint: pyproject.toml constraints.txt
	$(call install,[lint$(comma)test])
$(VENV)/.reliability: pyproject.toml constraints.txt
	$(call install,[reliability$(comma)test])
$(VENV)/.docs: pyproject.toml constraints.txt
	$(call install,[docs])
