"""Bring your own network: GraphML that one can edit. `python examples/own_network.py office.graphml`."""

import sys
from pathlib import Path

import soc_env
from soc_env.soc.networks import Network, enterprise


def main(path: str = "office.graphml", max_steps: int = 200) -> None:
    if not Path(path).exists():
        enterprise(num_hosts=60, seed=1).save(path)  # a start to edit with any GraphML editor
    graph = Network.load(path).to_graph()
    for _, host in graph.nodes(data=True):
        if host["kind"] == "host" and host["role"] == "domain_controller":
            host["value"] = 1.0  # what the business would miss most
    Network.from_graph(graph).save(path)
    network = Network.load(path)
    hosts = sum(node["kind"] == "host" for _, node in network.to_graph().nodes(data=True))
    env = soc_env.parallel_env("soc-v1", network=path, num_zones=len(network.zone_names), max_steps=max_steps)
    env.reset(seed=0)
    while env.agents:
        env.step({})  # nobody acts
    print(f"{hosts} hosts in {', '.join(network.zone_names)}: loss {env.metrics()['loss']:.1f} if nobody acts")


if __name__ == "__main__":
    main(*sys.argv[1:])
