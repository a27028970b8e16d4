"""The records that all envs of a `soc-v1` simulator share, from its scenario and networks."""

from __future__ import annotations

import numpy as np

from soc_env.engine.draws import noise_table
from soc_env.soc.attack import CHANNELS, technique_tables
from soc_env.soc.intruders import IntruderFamily, family_tables
from soc_env.soc.kernels.state import (
    ASSET,
    LEARNED,
    MAX_PHASES,
    NETWORK,
    RULE,
    RULE_DRAWS,
    SETTINGS_INT,
    SETTINGS_REAL,
    WORLD,
)
from soc_env.soc.networks.network import Network
from soc_env.soc.risk import decay
from soc_env.soc.risk_model import RiskModel
from soc_env.soc.scenario import SOCScenario
from soc_env.soc.tables import tools, zone_features


def make_world(scenario: SOCScenario, families: tuple[IntruderFamily, ...]) -> np.ndarray:
    """(1,) WORLD: everything of a scenario that does not depend on the network."""
    world = np.zeros(1, WORLD)
    for name in (*SETTINGS_INT, *SETTINGS_REAL):
        world[name] = getattr(scenario, name)
    world["attacker_first"] = scenario.order == "attacker_first"
    world["is_sparse"] = scenario.reward == "sparse"
    world["is_instant"] = scenario.instant_actions
    world["has_persistence"] = scenario.persistence
    world["has_levels"] = scenario.finding_levels
    world["zone_size"] = len(zone_features(scenario.finding_levels))
    world["weights"] = scenario.weights
    world["arrival"] = scenario.campaigns_per_hour / 60.0
    world["per_step"] = 1.0 / scenario.max_steps
    world["score_scale"] = 100.0 / (scenario.null_loss - scenario.clairvoyant_loss)
    world["alert_decay"] = decay(scenario.risk_half_life)
    world["finding_decay"] = decay(scenario.finding_half_life)
    world["num_phases"] = len(scenario.phase_values)
    world["phase_factor"] = 1.0
    world["is_defended"] = 1
    world["is_defended"][0, list(scenario.undefended_zones)] = 0
    for k, (factor, zone) in enumerate(zip(scenario.phase_values, scenario.phase_zones, strict=True)):
        if 0 <= zone < scenario.num_zones:
            world["phase_factor"][0, k, zone] = factor
    world["tools"][0] = _tool_rows(scenario)
    world["num_families"] = len(families)
    for name, values in family_tables(families).items():
        world["families"][name][0, : len(families)] = values
    rules = technique_tables()
    for name in RULE.names or ():
        if name not in ("precision", "shows_process"):
            world["rules"][name][0] = rules[name]
    world["rules"]["shows_process"][0] = rules["channel"] == CHANNELS.index("process")
    # What a SOC would know from its own statistics: how often a rule that fires is right. 0.65 puts the mean over rules
    # at about 15 %, as sites with 85 % false positives report (assumption).
    malicious = rules["detection"] + 1e-9
    world["rules"]["precision"][0] = malicious / (malicious + 0.65 * rules["benign"])
    cumulative = np.cumsum(rules["benign"])
    draws = (np.arange(RULE_DRAWS) + 0.5) / RULE_DRAWS * cumulative[-1]
    world["benign_rule"][0] = np.searchsorted(cumulative, draws)
    world["normal"] = noise_table()
    if scenario.risk_model:
        world["risk_model"]["kind"] = LEARNED
        RiskModel.find(scenario.risk_model).write_to(world["risk_model"][0])
    return world


def make_networks(scenario: SOCScenario, networks: list[Network]) -> tuple[np.ndarray, np.ndarray]:
    """(K,) NETWORK and (K, hosts of the largest) ASSET."""
    records = np.zeros(len(networks), NETWORK)
    assets = np.zeros((len(networks), max(net.num_hosts for net in networks)), ASSET)
    for record, row, net in zip(records, assets, networks, strict=True):
        segments, services, zones = net.num_segments, net.num_services, net.num_zones
        record["num_hosts"], record["num_segments"], record["num_services"] = net.num_hosts, segments, services
        record["start"][:] = net.num_hosts
        record["start"][: segments + 1] = net.start
        record["segment_zone"][:segments] = net.segment_zone
        record["is_reachable"][:segments, :segments] = net.reach
        record["is_entry"][:segments] = net.is_entry
        sizes = np.bincount(net.segment_zone, np.diff(net.start), minlength=zones)[:zones]
        record["zone_start"][:] = net.num_hosts
        record["zone_start"][: zones + 1] = np.concatenate([[0], np.cumsum(sizes)])
        record["zone_value"][:zones] = net.zone_value
        record["zone_size"][:zones] = np.minimum(1.0, np.log10(np.maximum(1.0, sizes)) / 5.0)
        mean = scenario.events_per_host_hour / 60.0 * sizes
        record["event_mean"][:zones] = mean
        record["event_scale"][:zones] = 5.0 * 2.0 * np.sqrt(np.maximum(1.0, mean))  # logs are overdispersed
        record["service_value"][:services] = net.service_value
        record["service_zone"][:services] = net.service_zone
        record["depends"][:services, :services] = net.service_depends
        hosts = np.bincount(net.host_service[net.host_service >= 0], minlength=services)
        record["per_service_host"][:services] = 1.0 / np.maximum(1, hosts)
        record["zone_service_value"][:zones] = np.bincount(net.service_zone, net.service_value, minlength=zones)[:zones]
        record["num_noisy"] = max(1, round(scenario.noisy_hosts * net.num_hosts))
        size = net.num_hosts / 200.0
        record["benign_rate"] = scenario.benign_alerts_per_hour / 60.0 * size**scenario.alert_scaling
        record["benign_limit"] = np.exp(-record["benign_rate"])
        record["hunt_capacity"] = scenario.hunt_hosts_per_minute * size**scenario.hunt_scaling
        factors = np.ones((MAX_PHASES, zones))
        for k, (factor, zone) in enumerate(zip(scenario.phase_values, scenario.phase_zones, strict=True)):
            if 0 <= zone < zones:
                factors[k, zone] = factor
        record["value_unit"] = 1.0 / (factors * net.zone_value).max()
        n = net.num_hosts
        row["value"][:n], row["vulnerability"][:n] = net.host_value, net.host_vulnerability
        row["users"][:n], row["role"][:n], row["service"][:n] = net.host_users, net.host_role, net.host_service
        row["segment"][:n] = np.repeat(np.arange(segments), np.diff(net.start))
    return records, assets


def _tool_rows(scenario: SOCScenario) -> list[tuple[int, float, float, float, bool]]:
    """The rows of TOOL."""
    rows = []
    for tool in tools(scenario):
        minutes, failure = (0, 0.0) if scenario.instant_actions else (tool.minutes, tool.failure)
        disruption = scenario.interruption * tool.disruption
        rows.append((minutes, tool.analyst_minutes, disruption, failure, tool.risk_class == "high"))
    return rows
