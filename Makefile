# The set-up and the two commands. Everything is installed into .venv; nothing outside this folder is touched.
PYTHON ?= python3
REPORT ?= demo
DATA ?=
SET ?=
ON ?= jax torch tensorflow
.DEFAULT_GOAL := report
.DELETE_ON_ERROR:
.PHONY: report publish test test-backends bench lab readme .venv

# A misspelt variable (make report REPROT=mine) would pass unseen.
KNOWN := PYTHON REPORT DATA SET ON
UNKNOWN := $(filter-out $(KNOWN) -%,$(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name))))
ifneq ($(UNKNOWN),)
$(error There is no setting '$(firstword $(UNKNOWN))': known are $(KNOWN))
endif

BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
BACKENDS := .venv-backends/$(notdir $(BIN))
# Values reach the shell through the environment, so that spaces, quotes and $$ in them are harmless.
export VQ_REPORT = $(value REPORT)
export VQ_DATA = $(value DATA)
export VQ_SET = $(value SET)

report: .venv/.whole
	@$(BIN)/vq-lib report "$$VQ_REPORT" --data="$$VQ_DATA" --set="$$VQ_SET"

# What 'make report' leaves in run/ is put in the place of the committed report.
publish: .venv/.whole
	@$(BIN)/vq-lib publish "$$VQ_REPORT"

bench: .venv/.whole
	@cd tests && ../$(BIN)/python -m bench

# Two processes: most tests keep one core busy. The tests of one file stay together, with what they share.
WORKERS = -n 2 --dist loadfile --no-loadscope-reorder

test: .venv/.tested
	@$(BIN)/python -m pytest $(WORKERS)

# The library on each of Keras's backends, and the tiny recipe through Snakemake and papermill; at last one model on all
# of them. JAX and PyTorch live in an environment of their own, which has no TensorFlow. The tests left out know no
# backend, are those of TFP, or try what the tiny recipe runs too. What 'make test' has just run on TensorFlow need not
# be run again: ON="jax torch".
ELSEWHERE := anatomy architecture baselines bench bits codecs codes cohort comparison data display duplicates environment \
	files grain hostile hostile_inputs html images intervals layouts leaks likelihood masks memorisation metrics_schema \
	names notebooks plots published published_models readme realism recipe reports slurm sweep
LIBRARY = -p no:cacheprovider $(ELSEWHERE:%=--ignore=tests/test_%.py) \
	-k "(not test_build or report_is_whole) and not every_recipe and not one_model_on_all and not all_notebooks"

# JAX compiles its thousand small functions in two thirds of the time, and what they compute is what is tested.
test-backends: export JAX_DISABLE_MOST_OPTIMIZATIONS = 1
test-backends: export VQ_BACKENDS = tensorflow=$(BIN)/python jax=$(BACKENDS)/python torch=$(BACKENDS)/python
test-backends: .venv/.tested .venv-backends/.whole
	@for backend in $(ON); do echo "On $$backend:"; bin=$(BACKENDS); [ $$backend = tensorflow ] && bin=$(BIN); \
	KERAS_BACKEND=$$backend $$bin/python -m pytest $(WORKERS) $(LIBRARY) || exit 1; done
	@echo "One model on all:" && KERAS_BACKEND=tensorflow $(BIN)/python -m pytest -p no:cacheprovider tests/test_backends.py

lab: .venv/.whole
	@$(BIN)/python -m jupyterlab notebooks

.venv: .venv/.whole

# The stamp .whole is written last. A first installation that broke leaves .begun and is begun again, in an empty
# environment; an update that failed leaves what was there.
EXTRAS = $(shell nvidia-smi >/dev/null 2>&1 && echo gpu)
comma := ,
# Of the many thousand modules that pip would compile (half a minute) a part is ever imported, and compiled then.
INSTALL = -m pip install --no-compile --quiet --disable-pip-version-check

.venv/.whole: pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || { echo "vq_lib" \
	"needs Python 3.11 to 3.13, and '$(PYTHON)' is none: name one, as in 'make report PYTHON=python3.12'." >&2; exit 2; }
	@{ $(BIN)/python -c 'import sys, pip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && \
	test ! -e .venv/.begun; } || \
	{ "$(PYTHON)" -m venv --clear .venv && touch .venv/.begun; }
	@rm -f .venv/.whole .venv/.tested
	@echo "Installing into .venv$(if $(EXTRAS), for the GPU that nvidia-smi names) (minutes, once) ..."
	@$(BIN)/python $(INSTALL) -c constraints.txt -e ".$(if $(EXTRAS),[gpu])"
	@rm -f .venv/.begun
	@touch $@

.venv/.tested: .venv/.whole
	@$(BIN)/python $(INSTALL) -c constraints.txt -e ".[dev$(if $(EXTRAS),$(comma)gpu)]"
	@touch $@

# Everything that pyproject.toml asks for but TensorFlow, JupyterLab, and what checks code or drives a browser. Its
# PyTorch is the CPU build where pip's index has the pinned one, and else the larger one for CUDA, which computes on a
# CPU as well.
.venv-backends/.whole: pyproject.toml constraints.txt
	@"$(PYTHON)" -m venv --clear .venv-backends
	@echo "Installing JAX and PyTorch into .venv-backends (minutes, once) ..."
	@$(BACKENDS)/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	more = p["optional-dependencies"]; wanted = [*p["dependencies"], *more["dev"], *more["jax"], *more["torch"]]; \
	without = ("jupyter", "mypy", "playwright", "ruff", "tensorflow", "tf-keras"); \
	print(*(w for w in wanted if not w.startswith(without)), sep="\n")' > .venv-backends/wanted.txt
	@$(BACKENDS)/python $(INSTALL) -c constraints.txt -r .venv-backends/wanted.txt
	@$(BACKENDS)/python $(INSTALL) --no-deps -e .
	@touch $@

readme: .venv/.whole
	@$(BIN)/python -m vq_lib.report.comparison
