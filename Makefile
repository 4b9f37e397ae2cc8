# Every target is `python3 bootstrap.py TARGET`, which works without make too. Options: make test ARGS="-k image"
PYTHON ?= python3

.PHONY: demo test check wheel setup
demo test check wheel setup:
	@$(PYTHON) bootstrap.py $@ $(ARGS)
