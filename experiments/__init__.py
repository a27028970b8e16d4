"""What is done with the environment and the learners: runs, measurements, and the command line `hmarl-soc`.

===============  ======================================================================================================
cli              the command line: arguments in, exit status out
train            trains HMARL and ends with a comparison; `run` is one run and its folder (needs the [train] extra)
evaluate         fixed episodes of a fixed policy, with intervals; comparison of several policies; never trains
transfer         policies on the real CybORG CAGE Challenge 4 (needs a checkout and the [cyborg] extra)
bench            speed and memory of the simulator, the runners and the learners
report           one self-contained HTML page about a run
attention        what a policy with attention looks at
families         what experiments do and show for each family of scenarios
progress         the one display of how far a command is
provenance       what a result was made with
output           how results become files
===============  ======================================================================================================

All but the runs need the [eval] extra only.
"""
