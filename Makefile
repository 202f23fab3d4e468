# Every target sets itself up: nothing but Python 3.11 and the package registry is needed, no GPU, token, ffmpeg or apt.
# `lab` and `test-browser` install a system package (espeak-ng, chromium) and say so first.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
PY := $(VENV)/bin/python
COMPILE := $(VENV)/bin/uv pip compile --quiet --generate-hashes --universal --python-version 3.10 --no-header --no-emit-index-url
QUICK := .venv-quick
# Whole files to one process, which loads a model once; the files that take long come first (tests/conftest.py).
PYTEST := -m pytest -n 2 --dist loadfile --no-loadscope-reorder
INSTALL := $(VENV)/bin/uv pip install --quiet --python $(PY) --require-hashes --compile-bytecode

.PHONY: help demo test test-quick test-busy test-browser lint bench bench-gpu fuzz soak lab calibrate image-test lock clean
help:
	@echo "make demo   run the main job on the sample conversation (AUDIO=my.mp3 WHISPERX_MODEL=small for your own)"
	@echo "make test   run the tests, offline, on the demo models (AREA=net for those of one folder or file of tests/)"
	@echo "make test-quick   run the tests that need no model, in an environment of 0.5 GB without torch"
	@echo "make test-busy   the same tests beside two processes that keep both cores busy"
	@echo "make test-browser   drive the transcript page in a headless Chromium (installs chromium by apt)"
	@echo "make lint   check the style, which room imports from which, and the types"
	@echo "make bench  measure the worker against stock WhisperX, part by part (PART=align for one)"
	@echo "make bench-gpu   seconds of a GPU for an hour of audio, by stage (needs one; REHEARSE=1 without)"
	@echo "make fuzz   decode damaged recordings by the thousand (5 minutes; FILES=500 SEED=2)"
	@echo "make soak   two hundred mixed jobs with faults through one worker (6 minutes; JOBS=50)"
	@echo "make lab    the worker beside bare WhisperX, on synthetic conversations (installs espeak-ng by apt; 16 minutes; PART=\"noises in the pauses\" for one)"
	@echo "make calibrate VOICES=folder   threshold and margin of the speaker names, on recordings of your own"
	@echo "make image-test   build the image and start it, without a registry (as root; LIGHT=1 without the ML packages)"
	@echo "make lock   resolve builder/requirements*.in anew"
	@echo "make clean  remove the environments and what was made"

$(VENV)/.uv: builder/requirements-uv.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 is needed (3.10 and 3.12 work too)."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r builder/requirements-uv.txt
	@touch $@

$(VENV)/.worker: $(VENV)/.uv builder/requirements.txt
	@echo "Installing the worker's packages into $(VENV): about 4 GB to download the first time (torch and CUDA), 7.5 GB on disk."
	$(INSTALL) -r builder/requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.worker builder/requirements-dev.txt
	@echo "Installing the test tools: about 60 MB."
	$(INSTALL) -r builder/requirements-dev.txt
	@touch $@

demo: $(VENV)/.worker
	$(PY) samples/demo.py $(if $(AUDIO),--audio "$(AUDIO)")

test: $(VENV)/.dev
	$(PY) $(PYTEST) $(AREA:%=tests/%)

$(QUICK)/.ready: builder/requirements-uv.txt builder/requirements-quick.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 is needed (3.10 and 3.12 work too)."; exit 1; }
	@echo "Installing what the quick tests need into $(QUICK): about 130 MB to download, 0.5 GB on disk."
	$(PYTHON) -m venv $(QUICK)
	$(QUICK)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r builder/requirements-uv.txt
	$(QUICK)/bin/uv pip install --quiet --python $(QUICK)/bin/python --require-hashes --compile-bytecode -r builder/requirements-quick.txt
	@touch $@

test-quick: $(QUICK)/.ready
	$(QUICK)/bin/python $(PYTEST) --without-models $(AREA:%=tests/%)

test-busy: $(VENV)/.dev
	$(PY) tests/support/neighbours.py $(PY) $(PYTEST)

test-browser: $(VENV)/.dev
	@command -v chromium >/dev/null || { echo "Installing chromium by apt (about 100 MB)."; apt-get update -qq; apt-get install -y -qq chromium; }
	$(PY) -m pytest tests/browser

$(VENV)/.lint: $(VENV)/.uv builder/requirements-lint.txt
	$(INSTALL) -r builder/requirements-lint.txt
	@touch $@

lint: $(VENV)/.lint
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	PYTHONPATH=src $(VENV)/bin/lint-imports --no-cache
	$(VENV)/bin/mypy

bench: $(VENV)/.dev
	$(PY) tests/bench/run.py $(PART)

bench-gpu: $(VENV)/.dev
	$(PY) tests/bench/gpu.py $(if $(REHEARSE),--rehearse)

fuzz: $(VENV)/.dev
	$(PY) tests/fuzz/run.py --files $(or $(FILES),3000) --seed $(or $(SEED),1)

soak: $(VENV)/.dev
	$(PY) tests/soak/run.py --jobs $(or $(JOBS),200) --seed $(or $(SEED),1)

lab: $(VENV)/.dev
	@ldconfig -p 2>/dev/null | grep -q libespeak-ng || { echo "Installing espeak-ng by apt (the speech synthesizer, 4 MB)."; apt-get update -qq; apt-get install -y -qq espeak-ng; }
	$(PY) tests/lab/run.py $(if $(PART),--part "$(PART)")
	$(PY) builder/docs.py

calibrate: $(VENV)/.worker
	@test -n "$(VOICES)" || { echo "make calibrate VOICES=folder, with a sub-folder of recordings for each person"; exit 2; }
	$(PY) builder/calibrate.py "$(VOICES)"

image-test:
	@command -v buildah >/dev/null && command -v podman >/dev/null && command -v debootstrap >/dev/null || { \
		echo "Installing buildah, podman, runc, conmon and debootstrap by apt (about 60 MB)."; apt-get update -qq; \
		apt-get install -y -qq --no-install-recommends buildah podman runc conmon debootstrap; }
	builder/image_test.sh

lock: $(VENV)/.uv
	$(COMPILE) builder/requirements-uv.in -o builder/requirements-uv.txt
	$(COMPILE) builder/requirements.in -o builder/requirements.txt
	$(COMPILE) builder/requirements-lint.in -o builder/requirements-lint.txt
	$(COMPILE) builder/requirements-dev.in -o builder/requirements-dev.txt
	$(COMPILE) builder/requirements-quick.in -o builder/requirements-quick.txt

clean:
	rm -rf $(VENV) $(QUICK) out .lab .image .pytest_cache .ruff_cache .mypy_cache .hypothesis
