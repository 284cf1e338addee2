# make demo   from a fresh machine to the answers of two ARM64 boards
# make test   lint, unit tests and every Molecule scenario
.DEFAULT_GOAL := help
SHELL := /bin/bash

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ik-llama-pi
# A virtual environment is named by what is in it, and shared by all clones. DEV has all that VENV has, and more.
VENV := $(CACHE)/venv/$(shell { cat requirements.txt; python3 --version; } 2>/dev/null | cksum | tr ' ' '-')
DEV := $(CACHE)/venv/$(shell { cat requirements.txt requirements-report.txt requirements-dev.txt; python3 --version; } 2>/dev/null | cksum | tr ' ' '-')
VENV_USED := $(if $(wildcard $(DEV)/.ready),$(DEV),$(VENV))
# VIRTUAL=1: not containers, but a whole emulated machine.
PLAY := ansible-playbook -i lab/inventory/$(if $(VIRTUAL),virtual,containers).yml
SCENARIOS := $(notdir $(patsubst %/molecule.yml,%,$(wildcard molecule/*/molecule.yml)))
# Three at a time; those that take longest begin first.
LONGEST := virtual_pi site fleet gateway ik_llama_build_builder gguf_quantize conditions ik_llama_build_interrupted ik_llama_build_failed \
  ik_llama_install llama_server gguf_source pi_metrics collection pi_base gguf_distribute lab_host ik_llama_build_upgrade
export PATH := $(DEV)/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
unexport CDPATH ANSIBLE_COLLECTIONS_PATH

.PHONY: help venv dev demo lab-up lab-down verify power-cuts test lint unit build sanity docs-lint docs changelog check-requirements molecule $(SCENARIOS:%=molecule-%)

help: ## Say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /|/' | column -t -s '|'

# Its name stands for the content of the requirements, so nothing is newer or older than it.
$(VENV)/.ready $(DEV)/.ready: REQUIREMENTS = $(if $(filter $(DEV)/%,$@),requirements-dev.txt,requirements.txt)
$(VENV)/.ready $(DEV)/.ready:
	@set -e; \
	if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	  echo "python3 3.11 or newer is missing: install it and call make again." >&2; exit 1; \
	fi; \
	if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing python3-venv."; \
	    apt-get update -qq && apt-get install -qq --no-install-recommends python3-venv >/dev/null; \
	  else \
	    echo "The Python module venv is missing (Debian: apt install python3-venv): install it and call make again." >&2; exit 1; \
	  fi; \
	fi; \
	echo "Installing $(REQUIREMENTS) into $(@D) (about half a minute)."; \
	rm -rf "$(@D)"; \
	hash -r; \
	python3 -m venv "$(@D)"; \
	: "Of the thousands of modules that ansible has, those that are used are compiled when they are."; \
	"$(@D)/bin/pip" install --quiet --disable-pip-version-check --no-compile --requirement $(REQUIREMENTS); \
	touch "$@"

venv: $(VENV_USED)/.ready ## Install Ansible and what make verify needs, pinned; .venv links to it
	@ln -sfn "$(VENV_USED)" .venv

dev: $(DEV)/.ready ## Install the tools of the tests too; .venv links to it
	@ln -sfn "$(DEV)" .venv

demo: dev ## Two ARM64 boards in containers, the whole chain, and their answers
	@cat tests/demo.txt
	@$(PLAY) lab/playbooks/up.yml
	@$(PLAY) site.yml
	@$(PLAY) playbooks/ask.yml -e tokens=26
	@$(PLAY) lab/playbooks/show.yml

lab-up: dev ## Start the lab's boards, with engine and test model, and nothing on them (VIRTUAL=1: a virtual Pi)
	@$(PLAY) lab/playbooks/up.yml

lab-down: dev ## Remove the lab's boards
	@$(PLAY) lab/playbooks/down.yml

verify: PATH := $(VENV_USED)/bin:$(PATH)
verify: venv ## Say what holds on each board of INVENTORY (LIMIT names some of them); changes nothing
	@ANSIBLE_INVENTORY="$(or $(INVENTORY),$(ANSIBLE_INVENTORY))" LIMIT="$(LIMIT)" \
	  python -m pytest tests/verify --per-board --tb=no --no-header --disable-warnings -p no:cacheprovider -r N

power-cuts: dev ## Cut a virtual Pi's power at ten random moments, and see what serves then (about an hour)
	@ansible-playbook -i lab/inventory/virtual.yml lab/playbooks/up.yml
	@tests/bench/power_cuts.py

test: ## All tests
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint unit
	@$(MAKE) --no-print-directory molecule

lint: dev ## ansible-lint, yamllint, ruff, mypy, changelog fragments, workflows
	@ruff check .
	@ruff format --check .
	@mypy .collections/ansible_collections/ik_llama/pi/plugins .collections/ansible_collections/ik_llama/lab/plugins tests
	@yamllint --strict .
	@antsibull-changelog lint
	@check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@ansible-lint --offline -q

unit: dev ## Unit tests
	@python -m pytest tests/unit

build: dev ## Build the collection into dist
	@tests/sanity/collection.py build dist

sanity: dev ## ansible-test sanity, on a copy of the collection as it is shipped (TESTS="--test pylint": only that)
	@tests/sanity/run.py $(TESTS)

docs-lint: dev ## Check the documentation of roles and plugins
	@tests/sanity/docs lint

docs: dev ## Generate the reference of roles, variables and modules, to be read at .cache/reference/index.html
	@tests/sanity/docs build .cache/reference

changelog: dev ## Move the fragments of changelogs into CHANGELOG.md, as the version that galaxy.yml names
	@antsibull-changelog release

check-requirements: dev ## Resolve the requirements for Linux, Apple Silicon and Intel Macs (asks the package index)
	@tests/check_requirements.py

# What all of them use is made first, so that none of them makes it twice.
molecule: dev ## Every scenario, three at the same time
	@LAB=test $(PLAY) lab/playbooks/up.yml --skip-tags boards
	@export FAILED="$$(mktemp)"; trap 'rm -f "$$FAILED"' EXIT; \
	$(MAKE) --jobs=3 --keep-going --output-sync=target $(addprefix molecule-,$(LONGEST) $(filter-out $(LONGEST),$(SCENARIOS))) && exit; \
	echo "Failed, each to be run again with make molecule-NAME:" >&2; cat "$$FAILED" >&2; \
	exit 1

$(SCENARIOS:%=molecule-%): molecule-%: dev
	@echo "== Scenario $*"
	@set -o pipefail; OUTPUT="$$(mktemp)"; trap 'rm -f "$$OUTPUT"' EXIT; \
	LAB=test molecule test --no-command-borders --scenario-name $* 2>&1 | tee "$$OUTPUT" || { \
	  { echo "$*"; grep -E '^(FAILED|ERROR) [^ -]|^fatal: ' "$$OUTPUT" | cut -c1-600; } >>"$${FAILED:-/dev/null}"; exit 1; }; \
	echo "== Scenario $* took $$SECONDS s"
