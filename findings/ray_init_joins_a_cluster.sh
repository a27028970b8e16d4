#!/usr/bin/env bash
# Ray: ray.init() without an address joins a cluster that somebody started on the machine.
#
# One would guess: without an address, this process gets a Ray of its own; an address is there to join one.
# What happens: the address of the newest cluster of the machine lies in a file of Ray's temporary folder, and
#     ray.init() connects to it; at logging level ERROR nothing says so. Actors then run with the other cluster's
#     CPUs and compete with its work.
# What helps: ray.init(address="local").
# Version: ray 2.60.0. Date: 2026-11-30.
# Source: own measurement; on purpose since https://github.com/ray-project/ray/pull/26678
set -euo pipefail
source "$(dirname "$0")/environment.sh" "ray[default]==2.60.0"
"$python" - <<'PYTHON'
import subprocess
import sys

import ray
from ray.cluster_utils import Cluster

PROGRAM = """
import sys
import ray

address = {"address": sys.argv[1]} if sys.argv[1] else {}
ray.init(logging_level="ERROR", log_to_driver=False, **address)
print(len(ray.nodes()), int(ray.cluster_resources()["CPU"]), ray.get_runtime_context().gcs_address)
ray.shutdown()
"""


def seen(address):
    """(nodes, CPUs, address) that a program of its own sees."""
    program = subprocess.run([sys.executable, "-c", PROGRAM, address], capture_output=True, text=True, timeout=120)
    if program.returncode:
        sys.exit(program.stderr)
    return program.stdout.split()


print("ray", ray.__version__)
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 7, "include_dashboard": False})
try:
    joined, own = seen(""), seen("local")
    address = cluster.address
    print(f"somebody's cluster: 7 CPUs, address {address}")
    for call, (_, cpus, at) in (("ray.init()", joined), ('ray.init(address="local")', own)):
        print(f"{call}: {cpus} CPUs, address {at}")
finally:
    cluster.shutdown()
if joined[2] != address or own[2] == address:
    sys.exit("the behaviour has changed")
PYTHON
