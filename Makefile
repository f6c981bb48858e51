# `make demo` does the main job offline; `make test` runs the tests. Each sets up .venv by itself.

.DEFAULT_GOAL := help
.PHONY: help demo test lint clean

help:
	@echo "make demo   export the shipped model, run it on every engine, prove them equal"
	@echo "make test   run the tests (installs torch: several GB)"
	@echo "make lint   ruff, and mypy over the built wheel"
	@echo "make clean  remove .venv and everything that tools leave behind"

demo:
	@.ci/setup demo
	@.venv/bin/pvae-neuro demo --out demo_out

test:
	@.ci/setup dev
	@# Clusters and process groups want the machine to themselves.
	.venv/bin/python -m pytest -m cluster
	.venv/bin/python -m pytest -n 2 tests
	@# Integers of every shipped model; the distance from float of one. `pytest hw_tests` is the whole.
	.venv/bin/python -m pytest -n 2 hw_tests -k "not near_float" --samples 4 --steps 16
	.venv/bin/python -m pytest -n 2 hw_tests --model mnist -k near_float
	@# The way to a board, on a stand-in for one.
	.venv/bin/python -m pytest -n 2 hw_tests --target loihi2 --fake-board --model mnist --samples 1 --steps 4 \
		-k "lateral-0 or predictive-0"

lint:
	@.ci/setup dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.ci/typecheck

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist demo_out *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
