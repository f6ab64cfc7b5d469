# Each target sets up what it needs in $(VENV); nothing but Python 3.11 or later must be there.
PYTHON ?= python3
VENV ?= .venv
comma := ,
BIN := $(VENV)/bin
# Many images set it, and every start of Python would then compile torch and transformers anew, for seconds
# on end; what is compiled is kept in $(VENV) and beside the sources.
unexport PYTHONDONTWRITEBYTECODE
# uv installs the same packages several times faster than pip, which takes over where uv cannot run
define install
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "prefixcap needs Python 3.11 or later; set PYTHON=python3.12, say" >&2; exit 1; }
	@echo "installing prefixcap$(1) into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv || true
	@UV_FIND_LINKS="$${UV_FIND_LINKS:-$$($(BIN)/python -m pip config list | sed -n "s/.*find-links='\(.*\)'/\1/p" | head -n 1)}" \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.$(1)' \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.$(1)'
	@touch $@
endef

.PHONY: bench test lint docs format clean

bench: $(VENV)/.run ## train the default captioner on drawn scenes, caption, score, draw
	$(BIN)/prefixcap bench --mapper mlp --prefix-len 10 --decoder beam

test: $(VENV)/.test ## run every test
	$(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

lint: $(VENV)/.lint ## format, lint, types, import contracts
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy src plugins/prefixcap_* plugins/example/src benchmarks
	$(BIN)/lint-imports

format: $(VENV)/.lint ## put the code into its standard format
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(VENV)/.docs ## build the documentation into site/, warnings as errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean: ## remove what the other targets made
	rm -rf $(VENV) site build dist

$(VENV)/.run: pyproject.toml constraints.txt
	$(call install,)
$(VENV)/.test: pyproject.toml constraints.txt
	$(call install,[test])
$(VENV)/.lint: pyproject.toml constraints.txt
	$(call install,[lint$(comma)test])
$(VENV)/.docs: pyproject.toml constraints.txt
	$(call install,[docs])
