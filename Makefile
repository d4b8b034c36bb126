# Two commands for a fresh machine: `make demo` and `make test`. Both make their own .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CHECKPOINT ?=

.PHONY: demo test check format sbom clean

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

# What the environment is made of, as CycloneDX 1.6; the tool has an environment of its own.
sbom: $(VENV)/.installed
	$(PYTHON) -m venv .sbom
	.sbom/bin/pip install --quiet cyclonedx-bom==7.5.0
	mkdir -p dist
	.sbom/bin/cyclonedx-py environment --output-reproducible --output-format JSON \
	    --output-file dist/xopt.cdx.json $(BIN)/python

clean:
	rm -rf .sbom $(VENV) build dist bundles src/xopt.egg-info
