"""`hmarl-soc risk-model`: trains a learned risk model of `soc-v1` on simulated truth, and measures how good it is.

    rows.py      plays a policy and notes of every host with evidence what the SOC knows, and the truth
    fit.py       the network: binary cross-entropy on these rows
    quality.py   average precision, AUC and a reliability curve on held-out networks and families, with intervals
    command.py   rounds of these, the file and its card

`soc_env.soc.risk_model` has the model itself, which needs NumPy alone.
"""
