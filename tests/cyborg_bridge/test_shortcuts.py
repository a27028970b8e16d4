"""The run-time shortcuts: the same draws, routes and vectors step by step, and nothing left when they are taken back.

`test_cage4_live.py` holds whole episodes with and without them against each other.
"""

import copy
from typing import Any

import numpy as np
import pytest
from cage4_trace import needs_cyborg
from frames import same

from cyborg_bridge import Cage4Env, cage4_parallel_env, shortcuts

SHORT = 45  # three mission phases of 15 steps


@pytest.mark.parametrize("is_known", [True, False])
def test_a_choice_is_the_generators(is_known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortcuts, "CHOICE_IS_INTEGERS", is_known)
    kept, plain = shortcuts.KeptOptions(np.random.default_rng(3)), np.random.default_rng(3)
    for _ in range(50):
        for options in ([int, str, float], [object], [int] * 40, [bytes, dict]):
            assert kept.choice(options) is plain.choice(options)
    assert kept.generator.bit_generator.state == plain.bit_generator.state
    with pytest.raises(ValueError, match=r".+"):
        kept.choice([])


def test_this_numpy_is_known() -> None:
    """Where it is not, everything works, slower."""
    assert shortcuts.CHOICE_IS_INTEGERS


def twins(seed: int) -> tuple[Cage4Env, Cage4Env]:
    """The same episode with shortcuts and without."""
    env = cage4_parallel_env(steps=SHORT, patch=True, observation="raw")
    env.reset(seed=seed)
    twin = copy.deepcopy(env)
    twin.close()
    return env, twin


def inner(env: Cage4Env) -> list[Any]:
    """What CybORG made of the step: draws, who was heard, and what every action ran into on its way."""
    controller = env.wrapper.env.environment_controller
    ways = [
        [(type(action).__name__, *(getattr(action, name, None) for name in ("route", "blocked", "dropped")))]
        for begun in controller.action.values()
        for action in begun
    ]
    heard = [len(interface.messages) for interface in controller.agent_interfaces.values()]
    parts = sorted(sorted(part) for part in controller.state.connected_components)
    return [str(controller.np_random.bit_generator.state), ways, heard, parts, controller.bandwidth_usage]


def firewall(env: Cage4Env, generator: np.random.Generator) -> dict[str, int]:
    """Blocks and allows at random, now and then something on a host."""
    actions = {}
    for agent in env.agents:
        orders, mask = env.zone(agent).orders, env.wrapper.action_mask(agent)
        kinds = (
            ("BlockTrafficZone", "AllowTrafficZone") if generator.random() < 0.7 else ("Analyse", "Restore", "Remove")
        )
        allowed = [i for i, order in enumerate(orders) if order.verb in kinds and mask[i]]
        actions[agent] = int(generator.choice(allowed))
    return actions


@needs_cyborg
@pytest.mark.parametrize("seed", [5, 6])
def test_every_step_is_the_same_inside_too(seed: int) -> None:
    env, twin = twins(seed)
    generator, routes = np.random.default_rng(seed), 0
    while env.agents:
        actions = firewall(env, generator)
        assert same(env.step(actions), twin.step(actions))
        found, expected = inner(env), inner(twin)
        assert found == expected
        routes += sum(way[0][1] is not None for way in found[1])
        assert [repr(env.raw_observation(agent)) for agent in env.possible_agents] == [
            repr(twin.raw_observation(agent)) for agent in env.possible_agents
        ]
    assert routes > 500


@needs_cyborg
def test_routes_follow_the_firewalls() -> None:
    """On a network with rings: CC4's own is a tree, on which no block can change a route."""
    env, _ = twins(5)
    controller = env.wrapper.env.environment_controller
    state, hosts = controller.state, sorted(controller.state.hosts)
    generator = np.random.default_rng(0)
    pairs = [generator.choice(hosts, 2).tolist() for _ in range(150)]
    from CybORG.Simulator.Actions.Action import RemoteAction

    class Asking(RemoteAction):
        priority = 1

        def __init__(self, source: str, target: str) -> None:
            super().__init__(0, next(name for name in state.sessions if state.sessions[name]))
            self.ends, self.found = (target, source), None

        def get_used_route(self, state: Any, refresh: bool = True, routing: bool = False) -> Any:
            self.found = self.get_route(state, *self.ends, routing)
            return None

    state.link_diagram.add_edges_from(generator.choice(hosts, (60, 2)).tolist())
    before: list[Any] = []
    for _ in range(6):
        for source, target in pairs:
            for host in generator.choice(hosts, 20):
                if host not in (source, target):
                    state.blocks.setdefault(str(host), []).append(source)
        asked = [Asking(*pair) for pair in pairs]
        controller.sort_action_order({"blue_agent_0": asked})
        assert [ask.found for ask in asked] == [RemoteAction.get_route(state, *ask.ends, True) for ask in asked]
        assert not any("get_route" in vars(ask) for ask in asked)
        state.blocks.clear()
        asked_before, before = before, [ask.found for ask in asked]
        assert before != asked_before


@needs_cyborg
def test_closing_leaves_nothing_of_them() -> None:
    env = cage4_parallel_env(steps=20, patch=True)
    untouched = cage4_parallel_env(steps=20)
    for one in (env, untouched):
        one.reset(seed=3)
        one.step({})
    env.close()
    cyborgs = [one.wrapper.env for one in (env, untouched)]
    controllers = [cyborg.environment_controller for cyborg in cyborgs]
    for objects in (
        controllers,
        [controller.state for controller in controllers],
        [controller.agent_interfaces["green_agent_0"].agent for controller in controllers],
        [controller.team_reward_calculators["Red"] for controller in controllers],
        [action for controller in controllers for action in controller.action["green_agent_0"]],
    ):
        kinds = [sorted(vars(part)) if hasattr(part, "__dict__") else sorted(part) for part in objects]
        assert kinds[0] == kinds[1]
    for controller in controllers:
        for interface in controller.agent_interfaces.values():
            assert interface.agent.np_random is controller.np_random
    assert same(env.step({}), untouched.step({}))
    assert same(env.reset(), untouched.reset())
