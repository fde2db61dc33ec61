# Two commands on a fresh machine; each sets itself up and is safe to repeat:
#   make demo        trains and judges three classifiers on real images (about 4 minutes of computing after the install)
#   make demo-reid   the same for person re-identification on drawn pedestrians (about 5 minutes)
#   make demo-det    the same for object detection on pasted digits (about 8 minutes)
#   make gpu-check   checks a GPU: every task on it beside the CPU, and what training takes (8 minutes)
#   make test        runs the whole test suite
#   make docs        builds the documentation's site, strictly, into site/
#   make test-paths  runs the tests that compute with the kernels of other processors; make test-core-paths the part of
#                    them that CI runs
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# One thread: on small images more threads are slower, much slower beside another busy process.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: demo demo-reid demo-det test test-paths test-core-paths lint docs bench clean gpu-check
demo: $(VENV)/.ready
	$(ONE_THREAD) $(BIN)/python tools/demo.py --device cpu --threads 1

demo-reid: $(VENV)/.ready
	$(ONE_THREAD) $(BIN)/python tools/demo.py reid --device cpu --threads 1

demo-det: $(VENV)/.ready
	$(ONE_THREAD) $(BIN)/python tools/demo.py det --device cpu --threads 1

test: $(VENV)/.ready
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist loadfile

# What computes, without the tests that start processes: kernels round differently from processor to processor.
NUMERIC := tests/analysis tests/attacks tests/checks tests/data tests/evaluation tests/methods tests/models \
	tests/objectives tests/runtime tests/terms tests/reid/test_reid_objectives.py tests/reid/test_ranking.py \
	--ignore tests/evaluation/test_eval_resume.py --deselect tests/models/test_checkpoint.py
# Of these what has failed on another processor before, and what compares floats that went through many kernels: trained
# nets before the checks, attacks against libraries and closed forms, images attacked in other batches, losses and their
# gradients against references. It takes about a minute a path.
CORE := tests/checks/test_checks.py tests/attacks/test_attacks.py tests/attacks/test_judge.py \
	tests/attacks/test_autopgd_library.py tests/evaluation/test_sets.py tests/evaluation/test_evaluation.py \
	tests/evaluation/test_refill.py tests/methods/test_methods.py tests/objectives tests/terms/test_nasty.py \
	tests/analysis/test_series.py tests/reid/test_reid_objectives.py
ON_PATH = $(ONE_THREAD) $(1) $(BIN)/python -m pytest -n 2 --dist loadfile
test-paths: $(VENV)/.ready
	$(call ON_PATH,MKL_CBWR=COMPATIBLE) $(NUMERIC)
	$(call ON_PATH,MKL_CBWR=AVX2) $(NUMERIC)
	$(call ON_PATH,ATEN_CPU_CAPABILITY=default) $(NUMERIC)

test-core-paths: $(VENV)/.ready
	$(call ON_PATH,MKL_CBWR=COMPATIBLE) $(CORE)
	$(call ON_PATH,MKL_CBWR=AVX2 ATEN_CPU_CAPABILITY=default) $(CORE)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy natx natx_bench tasks tools

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

gpu-check: $(VENV)/.ready
	$(BIN)/python tools/gpu_check.py

bench: $(VENV)/.bench
	$(BIN)/python tools/benchmark.py

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev,all]"
	touch $@

$(VENV)/.docs: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	touch $@

$(VENV)/.bench: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet -e ".[bench]"
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache site
