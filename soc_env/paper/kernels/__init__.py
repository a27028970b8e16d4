"""Compiled mechanics of the simulator, one file per thing they model. `step.py` writes the order of a step.

Rules that keep compiled code and plain Python (`NUMBA_DISABLE_JIT=1`) bit-identical: arithmetic in float64 with float32
inputs converted by name, 64-bit unsigned numbers only mixed with each other, nothing allocated.
"""
