# `make lab` and `make test` do all the set-up they need: Python 3.11 or later, git and make.
.PHONY: lab test slow pythons setup notebooks lint bench browser soak clients lock api schedule site slides hub
.DEFAULT_GOAL := lab

# The first of these that is Python 3.11 or later; `make PYTHON=/path/to/python3` overrides it.
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11 python
IS_NEW := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach p,$(CANDIDATES),$(shell $(p) -c '$(IS_NEW)' 2>/dev/null && echo $(p))))
RUN := .venv/bin/python
# A lesson starts many processes; without bytecode each of them would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

setup: .venv/ready

.venv/ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed: install it, or say make PYTHON=/path/to/python3"; exit 1; }
	@echo "Setting up .venv (a minute or two, once) ..."
	@$(PYTHON) -m venv .venv || { echo "Python's venv module is needed: on Debian and Ubuntu, install python3-venv"; exit 1; }
	@$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# JupyterLab, opened on the first page.
lab: setup
	@.venv/bin/llm-antipatterns lab

# Everything that proves the course: lint, types, unit tests, server contract, the gates of every lesson.
# Tests mostly wait, so four workers suit two cores; only two timed ones run at the same time.
test: setup lint
	@$(RUN) -m pytest -n 4 -m "not timed and not slow and not browser"
	@$(RUN) -m pytest -n 2 -m "timed and not slow"

# What takes too long for `make test`: fuzz, soak, installing, further solutions, whole audits.
# The first line measures memory and bursts, so it has the machine to itself.
slow: setup
	@$(RUN) -m pytest -m slow tests/mock_llm tests/test_environment.py
	@$(RUN) -m pytest -n 2 -m slow --ignore=tests/mock_llm --ignore=tests/test_environment.py

# The untimed tests and lesson 01 on each Python from 3.11 to 3.13 that is installed.
pythons: setup
	@$(RUN) tests/pythons.py

lint: setup
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

# Builds and executes notebooks/*.ipynb from notebooks/source/*.py. Commit both.
notebooks: setup
	@$(RUN) -m helpers.lessons.notebook

# JupyterLab in headless Chromium; screenshots go to artefacts/.
browser: setup
	@$(RUN) -m pytest -m browser tests/browser

# Ratios against a baseline of the same minute. Printed, never asserted.
bench: setup
	@$(RUN) bench/run.py

# Every lesson ten times under nbval, two at a time, while another process burns a core.
soak: setup
	@$(RUN) tests/soak.py

# Real clients, the newest of each, in throw-away environments. It downloads them; other checks need only the lock.
clients: setup
	@$(RUN) -m tests.clients.run

# A class of twenty on a real JupyterHub, in an environment from hub/requirements.lock. About ten minutes.
hub: setup
	@$(RUN) -m tests.hub.run

# After a change of pyproject.toml: the locks for all platforms, and environment.yml in step with them.
lock: setup
	@$(RUN) -m uv pip compile pyproject.toml --all-extras --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-header --quiet --output-file requirements.lock
	@$(RUN) -m uv pip compile pyproject.toml hub/requirements.in --extra course --constraint requirements.lock --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-header --quiet --output-file hub/requirements.lock
	@$(RUN) tests/environment.py

# docs/api.md from the docstrings of what `helpers` exports. Commit it.
api: setup
	@$(RUN) tests/api.py

# The workshop plans of notebooks/TEACHING.md, from the minutes in the lessons' sources. Commit it.
schedule: setup
	@$(RUN) tests/schedule.py

# The executed course as a static site, in site/. Nothing is run or downloaded.
site: setup
	@$(RUN) -m docs.site

# A deck of slides for each lesson, in slides/. Nothing is run or downloaded.
slides: setup
	@$(RUN) -m docs.slides
