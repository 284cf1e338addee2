# make demo   from a fresh machine to the answers of two ARM64 boards
# make test   lint, unit tests and every Molecule scenario
.DEFAULT_GOAL := help
SHELL := /bin/bash

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ik-llama-pi
# The virtual environment is named by what is in it, and shared by all clones.
VENV := $(CACHE)/venv/$(shell { cat requirements.txt; python3 --version; } 2>/dev/null | cksum | tr ' ' '-')
READY := $(VENV)/.ready
# VIRTUAL=1: not containers, but a whole emulated machine.
PLAY := ansible-playbook -i lab/inventory/$(if $(VIRTUAL),virtual,containers).yml
SCENARIOS := $(notdir $(patsubst %/molecule.yml,%,$(wildcard molecule/*/molecule.yml)))
# Three groups of about the same length run beside each other: these have fleets of their own, ...
WITH_FLEETS := $(filter fleet gateway pi_metrics,$(SCENARIOS))
# ... these need this machine alone, and the last of them a virtual Pi, ...
WITHOUT_BOARDS := $(filter fleet_forecast gguf_quantize gguf_source ik_llama_build_failed ik_llama_build_interrupted \
  ik_llama_build_native ik_llama_build_upgrade virtual_pi,$(SCENARIOS))
# ... and the others share the boards of one lab.
WITH_BOARDS := $(filter-out $(WITH_FLEETS) $(WITHOUT_BOARDS),$(SCENARIOS))
export PATH := $(VENV)/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
unexport CDPATH ANSIBLE_COLLECTIONS_PATH

.PHONY: help venv demo lab-up lab-down verify power-cuts test lint unit molecule with-boards with-fleets without-boards $(SCENARIOS:%=molecule-%)

help: ## Say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /|/' | column -t -s '|'

# Its name stands for the content of requirements.txt, so nothing is newer or older than it.
$(READY):
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
	echo "Installing Ansible and the tools of requirements.txt into $(VENV) (about a minute)."; \
	rm -rf "$(VENV)"; \
	hash -r; \
	python3 -m venv "$(VENV)"; \
	"$(VENV)/bin/pip" install --quiet --disable-pip-version-check --requirement requirements.txt; \
	touch "$@"

venv: $(READY) ## Install Ansible and the tools, pinned
	@ln -sfn "$(VENV)" .venv

demo: venv ## Two ARM64 boards in containers, the whole chain, and their answers
	@cat tests/demo.txt
	@$(PLAY) lab/playbooks/up.yml
	@$(PLAY) site.yml
	@$(PLAY) playbooks/ask.yml -e tokens=26
	@$(PLAY) lab/playbooks/show.yml

lab-up: venv ## Start the lab's boards, with engine and test model, and nothing on them (VIRTUAL=1: a virtual Pi)
	@$(PLAY) lab/playbooks/up.yml

lab-down: venv ## Remove the lab's boards
	@$(PLAY) lab/playbooks/down.yml

verify: venv ## Say what holds on each board of INVENTORY (LIMIT names some of them); changes nothing
	@ANSIBLE_INVENTORY="$(or $(INVENTORY),$(ANSIBLE_INVENTORY))" LIMIT="$(LIMIT)" \
	  python -m pytest tests/verify --per-board --tb=no --no-header --disable-warnings -p no:cacheprovider -r N

power-cuts: venv ## Cut a virtual Pi's power at ten random moments, and see what serves then (about an hour)
	@ansible-playbook -i lab/inventory/virtual.yml lab/playbooks/up.yml
	@tests/bench/power_cuts.py

test: lint unit molecule ## All tests

lint: venv ## ansible-lint, yamllint, ruff, mypy
	@ruff check .
	@ruff format --check .
	@mypy .collections/ansible_collections/ik_llama/pi/plugins .collections/ansible_collections/ik_llama/lab/plugins tests
	@yamllint --strict .
	@ansible-lint --offline -q

unit: venv ## Unit tests
	@python -m pytest tests/unit

# What all of them use is made first, so that none of them makes it twice.
molecule: venv ## Every scenario, in three groups beside each other
	@LAB=test $(PLAY) lab/playbooks/up.yml --skip-tags boards
	@export FAILED="$$(mktemp)"; trap 'rm -f "$$FAILED"' EXIT; \
	$(MAKE) --jobs=3 --keep-going --output-sync=target with-boards with-fleets without-boards && exit; \
	echo "Failed, each to be run again with make molecule-NAME:" $$(sort "$$FAILED") >&2; \
	exit 1

# One after the other, whatever --jobs says; a scenario that fails doesn't keep the next from running.
with-boards: GROUP = $(WITH_BOARDS)
with-fleets: GROUP = $(WITH_FLEETS)
without-boards: GROUP = $(WITHOUT_BOARDS)
with-boards with-fleets without-boards:
	@failed=0; \
	for scenario in $(GROUP); do \
	  $(MAKE) --no-print-directory "molecule-$$scenario" || { failed=1; echo "$$scenario" >>"$${FAILED:-/dev/stderr}"; }; \
	done; \
	exit $$failed

$(SCENARIOS:%=molecule-%): molecule-%: venv
	@echo "== Scenario $*"
	@LAB=test molecule test --no-command-borders --scenario-name $*
