# Two commands do everything on a fresh machine: `make demo` and `make test`.
export PYTHONSAFEPATH := 1
# Tests start some thousand commands: compile what they import once.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CHECK := .venv-check
TRITON := .venv-triton
AIRFLOW := .venv-airflow
# Two installations of this project at once would write the same build folder.
ALONE := flock pyproject.toml

.PHONY: help demo wheel tools test test-parts test-encoders test-rest test-whole test-stages test-commands test-airflow test-dags test-service test-demo test-office \
  check triton airflow bench clean

help:  ## what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 10

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(ALONE) $(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev,train,export,serve,ray]"
	touch $@

demo: $(STAMP)  ## a rendered marketplace through three days: model, neighbours, search, accuracy, report
	$(BIN)/mmprod demo --folder demo

wheel: $(STAMP)  ## all of it as one file to install elsewhere, in dist/
	$(ALONE) sh -ec 'rm -rf build/lib dist; $(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .'

# A package of Debian where it may be installed; elsewhere says in one line what to run, and fails.
debian = { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && { apt-get -qq update; \
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $(1) >/dev/null; }; } || \
  { echo "$(1) is not installed. As root, on Debian: apt-get install -y --no-install-recommends $(1)"; false; }

# Without it the tests say so in the end, and in CI fail.
tools:  ## what tests need beside Python: Chromium
	@test -x /usr/bin/chromium || $(call debian,chromium) || true

# Three at a time, as those of the scheduled runs often wait; the longest first. Each on one core: threads that outnumber cores
# slow each other many times over.
test:  ## every test, the slow ones too; in the end a table of what was skipped
	$(MAKE) --no-print-directory --jobs 3 $(STAMP) $(TRITON)/.installed $(AIRFLOW)/.installed tools
	OMP_NUM_THREADS=1 $(BIN)/python tests/skips.py \
	  $(MAKE) --no-print-directory --keep-going --jobs 3 --output-sync=line \
	  test-rest test-stages test-commands test-encoders test-service test-demo test-dags

test-parts: test-encoders test-rest  ## tests of the libraries, and of the docs

test-encoders: $(STAMP)
	$(BIN)/pytest tests/encoders

test-rest: $(STAMP)
	$(BIN)/pytest --ignore tests/encoders --ignore tests/mmprod --ignore tests/dags --ignore tests/test_demo.py

test-demo: $(STAMP)  ## the demo and its accuracy
	$(BIN)/pytest tests/test_demo.py

test-whole: test-stages test-commands  ## tests of stages and commands

# Two halves of about the same length.
test-stages: $(STAMP)
	$(BIN)/pytest tests/mmprod --ignore-glob 'tests/mmprod/test_[g-z]*'

test-commands: $(STAMP)
	$(BIN)/pytest tests/mmprod/test_[g-z]*.py

test-office: $(STAMP)  ## a sheet through LibreOffice and back: installs it, so it is no part of make test
	command -v soffice || $(call debian,libreoffice-calc)
	OFFICE=1 $(BIN)/pytest tests/eval/sheets -k libreoffice

check: $(STAMP) $(CHECK)/.installed  ## ruff, formatting, strict types, import direction
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(CHECK)/bin/python -m mypy
	$(BIN)/pytest -q tests/test_packaging.py

# Type checkers see through the package-dir mapping only on a strict editable install, so they get one
# of their own, on top of the first environment's libraries.
$(CHECK)/.installed: $(STAMP) $(wildcard */*.py */*/*.py)
	test -x $(CHECK)/bin/python || $(PYTHON) -m venv --without-pip $(CHECK)
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > $$($(CHECK)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/base.pth
	$(BIN)/pip --python $(CHECK)/bin/python install --quiet --no-deps --editable . --config-settings editable_mode=strict
	touch $@

triton: $(STAMP) $(TRITON)/.installed  ## the environment of the online service, for mmprod triton

$(TRITON)/.installed: constraints-triton.txt pyproject.toml deploy/triton-environment.sh
	PYTHON=$(PYTHON) ALONE='$(ALONE)' sh deploy/triton-environment.sh $(TRITON) --editable .

airflow: $(STAMP) $(AIRFLOW)/.installed  ## a complete local Airflow with the DAGs on a demo catalogue; Ctrl-C ends it
	$(AIRFLOW)/bin/python -P -m mmprod.airflow.local --folder demo/airflow --command $(BIN)/mmprod

test-airflow: $(STAMP) $(AIRFLOW)/.installed  ## the DAGs: their structure, each one run, and a real Airflow asked by REST
	OMP_NUM_THREADS=1 $(MAKE) --no-print-directory --keep-going --jobs 2 --output-sync=line test-dags test-service

test-dags: $(STAMP) $(AIRFLOW)/.installed
	$(BIN)/pytest tests/dags --ignore tests/dags/test_service.py

test-service: $(STAMP) $(AIRFLOW)/.installed
	$(BIN)/pytest tests/dags/test_service.py

# Its own: it needs nothing of ours but the operators, and the mmprod command runs in the first environment.
$(AIRFLOW)/.installed: constraints-airflow.txt pyproject.toml
	test -x $(AIRFLOW)/bin/python || $(PYTHON) -m venv $(AIRFLOW)
	$(AIRFLOW)/bin/pip install --quiet --constraint constraints-airflow.txt \
	  "apache-airflow>=3.3,<3.4" "apache-airflow-providers-openlineage>=2.20,<3" psycopg2-binary asyncpg
	$(ALONE) $(AIRFLOW)/bin/pip install --quiet --no-deps --editable .
	$(AIRFLOW)/bin/python -m compileall -q -j 2 $(AIRFLOW)/lib   # where bytecode isn't written, importing takes 10 s and more
	touch $@

bench: $(STAMP)  ## every benchmark, each against its baseline
	for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean:  ## remove what was made here: environments, demo, caches
	rm -rf $(VENV) $(CHECK) $(TRITON) $(AIRFLOW) demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
