"""The builders behind `docs/generate.py`: one file for each part of the documentation."""
