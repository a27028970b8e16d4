"""`hmarl-soc transfer`: policies on the real CybORG CAGE Challenge 4 (CC4), by its official score.

The protocol is that of CC4's `evaluation.py`: episodes of 500 steps as CybORG counts (499 played, 498 scored), an
episode's score being the sum over steps of the team reward (the mean over the five blue agents). One thing differs:
every episode has a seed of its own instead of its place in one stream, so that all policies meet the same episodes,
and that they can be played by several processes in any order.

===============  ======================================================================================================
entries          who can be measured: scripted controls, trained teams, scripted teams of `soc-v1`
play             plays episodes of entries and keeps what they came to in ``transfer.json``
comparison       what those episodes say: means, and differences to one entry on the same episodes
tables, plot     the tables and the picture of it, beside what others have published
train            teams that learn on CC4 itself, from a checkpoint or from new networks
command          what the command line asks for, put together
===============  ======================================================================================================
"""
