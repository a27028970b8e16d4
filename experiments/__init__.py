"""The commands of HMARL-SOC: `hmarl-soc train`, `hmarl-soc evaluate` and `hmarl-soc bench`.

=============  =======================================================================================================
cli            arguments in, exit status out
train          training runs: run folder, checkpoints, progress (needs the [train] extra)
evaluate       fixed episodes of a fixed policy, with intervals; comparison of several policies; never trains
report         one self-contained HTML page about a run
transfer       policies on the real CybORG CAGE Challenge 4 (needs a checkout and the [cyborg] extra)
bench          speed and memory of the simulator, the runners and the learners
=============  =======================================================================================================
"""
