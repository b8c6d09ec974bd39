# make demo   set up, train on the microgrid market, score against its equilibria, write the report
#             (goes on with the run that lies in runs/demo; remove that folder to train anew)
# make test   set up, run all tests
# make check  set up with the developers' tools, then lint and types
#
# PYTHON=...      interpreter that makes the virtual environment, 3.11 or newer
# TORCH_ARGS=...  further arguments of pip when it installs torch, such as the index of CPU builds

PYTHON ?= python3.11
TORCH_ARGS ?=
PIP = .venv/bin/python -m pip install --quiet --disable-pip-version-check

# One thread for torch and BLAS: seeded training then gives the same bits on every machine of a
# kind, and networks this small learn faster than on several.
export OMP_NUM_THREADS = 1

.PHONY: demo test check clean

demo: .venv/.ok
	.venv/bin/nashgrid solve market-v0 --scenarios 8 --seed 1000000000
	.venv/bin/nashgrid train configs/demo.yaml $(if $(wildcard runs/demo/config.yaml),--resume)
	.venv/bin/nashgrid score runs/demo
	.venv/bin/nashgrid report runs/demo

test: .venv/.ok
	.venv/bin/python -m pytest -q

check: .venv/.dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

# torch comes first and pinned: the extra then finds it there and does not choose another build.
.venv/.ok: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) $(TORCH_ARGS) torch==2.13.0
	$(PIP) -e ".[train,test]"
	touch $@

.venv/.dev: .venv/.ok
	$(PIP) -e ".[dev]"
	touch $@

clean:
	rm -rf .venv build dist nashgrid.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
