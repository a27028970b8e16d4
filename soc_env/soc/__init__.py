"""Scenario `soc-v1`: the security operations centre with its tools, telemetry, attackers and networks."""
