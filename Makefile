# Two commands for a fresh machine: `make demo` and `make test`. Both make their own .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CHECKPOINT ?=

.PHONY: demo test pytest check ruff mypy pyright imports format links dist sbom audit yanked clean

demo: $(VENV)/.demo
	$(BIN)/xopt build $(CHECKPOINT) --precision int8 -o bundles/demo
	$(BIN)/xopt eval bundles/demo --task tatoeba
	$(BIN)/xopt run bundles/demo "Where is the library?" "Wo ist die Bibliothek?" "Maktaba iko wapi?"
	$(BIN)/xopt report bundles/demo -o bundles/demo.html

test: $(VENV)/.installed
	$(MAKE) --jobs 2 check
	$(MAKE) pytest

# Files in the order of tests/conftest.py, not those of most tests first.
pytest: $(VENV)/.installed
	$(BIN)/python -P -m pytest -n auto --dist loadfile --no-loadscope-reorder

# Two of the four take most of the time: make --jobs 2 check
check: mypy pyright ruff imports

ruff: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

mypy pyright: $(VENV)/.installed
	$(BIN)/$@

imports: $(VENV)/.installed
	$(BIN)/lint-imports

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# PyTorch's own index has a CPU build, which pip takes for x86-64 before that of the package index with
# its gigabytes of CUDA libraries; where it cannot be reached, pip goes on without it.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# Compiled when it is imported: most modules never are. A shell that forbids to keep what was compiled
# would have every process of the tests compile PyTorch and transformers anew.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(BIN)/pip install --quiet --no-compile

$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade pip
	$(INSTALL) --quiet --extra-index-url $(TORCH_INDEX) --retries 1 "$$(grep '^torch==' constraints.txt)"
	touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	$(INSTALL) --constraint constraints.txt --editable '.[demo]'
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	$(INSTALL) --constraint constraints.txt --editable '.[dev]'
	touch $@

# Addresses outside of the repository, one request each; the links inside are held by the tests.
links: $(VENV)/.installed
	$(BIN)/python docs/check_links.py --external

# The source and the wheel, and beside them what they were tested with.
dist: sbom
	$(BIN)/python -m build --outdir dist

# What the environment is made of, as CycloneDX 1.6; the tool has an environment of its own.
sbom: $(VENV)/.installed
	$(PYTHON) -m venv .sbom
	.sbom/bin/pip install --quiet cyclonedx-bom==7.5.0
	mkdir -p dist
	.sbom/bin/cyclonedx-py environment --output-reproducible --output-format JSON \
	    --output-file dist/xopt.cdx.json $(BIN)/python

# Known vulnerabilities of the pinned versions; ends with 2 where they cannot be told. Without a
# network: make audit DATABASE=FOLDER, a checkout of https://github.com/pypa/advisory-database.
DATABASE ?=

audit: $(VENV)/.installed
ifeq ($(DATABASE),)
	$(PYTHON) -m venv .audit
	.audit/bin/pip install --quiet pip-audit==2.10.1
	-.audit/bin/pip-audit --disable-pip --no-deps --requirement constraints.txt --format json \
	    --output .audit/report.json
	$(BIN)/python .ci/audit.py --report .audit/report.json
else
	$(BIN)/python .ci/audit.py --database $(DATABASE)
endif

# Versions in use that their owners took back; 2 where the index cannot be asked.
yanked: $(VENV)/.installed
	$(BIN)/python .ci/yanked.py

clean:
	rm -rf .sbom .audit $(VENV) build dist bundles src/xopt.egg-info
