# Two commands for a fresh machine: `make demo` and `make test`. Both make their own .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CHECKPOINT ?=

.PHONY: demo test check format clean

demo: $(VENV)/.demo
	$(BIN)/xopt build $(CHECKPOINT) --precision int8 -o bundles/demo
	$(BIN)/xopt eval bundles/demo --task tatoeba
	$(BIN)/xopt run bundles/demo "Where is the library?" "Wo ist die Bibliothek?" "Maktaba iko wapi?"
	$(BIN)/xopt report bundles/demo -o bundles/demo.html

test: $(VENV)/.installed check
	$(BIN)/python -P -m pytest -n auto --maxprocesses 4 --dist loadfile

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# PyTorch first and pinned: an open range would bring gigabytes of CUDA libraries.
$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet "$$(grep '^torch==' constraints.txt)"
	touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[demo]'
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist bundles src/xopt.egg-info
