"""The commands of HMARL-SOC, `hmarl-soc COMMAND`, over the environment and the policies.

| module | what it does |
|---|---|
| `cli` | arguments in, exit status out |
| `run`, `train` | a training run: its folder, checkpoints and progress; the command `train` |
| `evaluate` | fixed episodes of a fixed policy, and several policies on the same ones; the command `evaluate` |
| `compare`, `calibrate` | policies over network seeds and splits; what scales the score; the command `compare` |
| `seeds` | runs with several seeds, of one setting or of several; the command `aggregate` |
| `transfer` | policies on the real CybORG CAGE Challenge 4; the command `transfer` |
| `bench` | speed and memory of the simulator, the runners and the learners; the command `bench` |
| `families` | what experiments choose for each family: policies compared, metrics shown, numbers of episodes |
| `intervals` | intervals and tests |
| `tables`, `plots`, `report` | results on a terminal, as charts, as one page of HTML |
| `run_folder`, `output` | what a run left, read back; how results become files |
| `progress`, `provenance` | how far a command is; what a result was made with |
| `attention` | what a policy with attention looks at |
"""
