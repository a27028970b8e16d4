"""The family of `paper-v0`: the simulator published with HMARL-SOC, its faults included."""
