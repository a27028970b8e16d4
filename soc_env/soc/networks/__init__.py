"""Networks of soc-v1: what is defended. Generated, built as a graph, or read from a file a person can edit.

>>> from soc_env.soc.networks import Network, enterprise
>>> network = enterprise(num_hosts=200, seed=0)
>>> network.save("mine.graphml")  # edit it, then:
>>> network = Network.load("mine.graphml")

## The file, and the graph of `to_graph` and `from_graph`
GraphML, one directed `<graph>` whose attribute `name` names the network. Node ids are free (`host:17`); every node has
a `kind` and these attributes:

| kind | attribute | allowed | meaning |
|---|---|---|---|
| zone | name | text | what the agents see and act on |
| zone | value | 0 to 1 | relative business value |
| segment | name | text | a subnet |
| segment | is_entry | true or false | faces the internet or receives mail: an intruder can start here |
| service | name | text | a business service |
| service | value | 0 to 1e+09 | value lost per minute of full outage; a weight, divided by the sum over services |
| host | role | workstation, server, domain_controller, cloud | |
| host | value | more than 0, at most 1 | business value |
| host | vulnerability | 0.05 to 0.95 | probability that an exploit works |
| host | users | 0 to 1e+09 | users that feel an outage of this host |

Every edge has a `kind` too:

| kind | from | to | meaning |
|---|---|---|---|
| contains | zone | segment | each segment is in one zone |
| contains | zone | service | each service is at home in one zone |
| contains | segment | host | each host is in one segment |
| reaches | segment | segment | an intruder or administrator gets from here to there; a segment reaches itself anyway |
| runs | host | service | at most one service a host |
| depends | service | service | the first needs the second; no cycles |

Order matters only within a kind: zones, segments, services and hosts are numbered as they come in the file, segments
after their zones, hosts after their segments, services after what they depend on. 1 to 16 zones, 32 segments, 16
services, 100,000 hosts, no zone without segments and no segment without hosts; names are unique within a kind, of 1 to
64 printable characters. GraphML's own `<default>` works, other attributes (colours, coordinates) are ignored. A file
that is broken raises `ConfigError`.
"""

from soc_env.soc.networks.cage4 import CAGE4_HOSTS, CAGE4_ZONES, Cage4Zone, cage4
from soc_env.soc.networks.enterprise import MIN_ENTERPRISE_HOSTS, enterprise
from soc_env.soc.networks.network import Network, host_zone
from soc_env.soc.networks.rules import MAX_HOSTS, MAX_SEGMENTS, MAX_SERVICES, MAX_ZONES, ROLES

__all__ = [
    "CAGE4_HOSTS", "CAGE4_ZONES", "MAX_HOSTS", "MAX_SEGMENTS", "MAX_SERVICES", "MAX_ZONES", "MIN_ENTERPRISE_HOSTS",
    "ROLES", "Cage4Zone", "Network", "cage4", "enterprise", "host_zone",
]  # fmt: skip
