"""Compiled mechanics of the `soc-v1` family, one file per thing they model; `step.py` has the order of a minute."""
