"""Mutated configuration files, and what `hmarl-soc train --config FILE` makes of each of them.

    python tests/helpers/config_fuzz.py --seed 0 --number 2642

Files are the presets, the recorded configurations and the documentation's examples, in TOML, YAML and JSON, each with
one thing wrong (or odd): a value that is none, a name that is none, a schedule that goes back, a file that is cut off.
A file is accepted, or refused by an error of ours of one line; all else counts as a failure. An accepted one holds
finite numbers alone. The same seed gives the same files.
"""

from __future__ import annotations

import argparse
import collections
import copy
import json
import math
import random
import signal
import sys
import tempfile
import tomllib
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trees import Place, opened, places, put

from policies.presets import CAGE4_RUN, PRESETS
from soc_env.errors import HMARLSOCError

ROOT = Path(__file__).parent.parent.parent
NESTED: Any = []
for _ in range(200):
    NESTED = [NESTED]
# What takes the place of a value; text stands for a literal that plain data has no word for.
VALUES: tuple[Any, ...] = (
    math.nan, math.inf, -math.inf, -1, 0, 1, 0.5, 1e308, -1e308, 5e-324, 10**400, -(10**400), 2**63, 10**12, True,
    False, "text", "", "1", "nan", "\u0661", "\x00", "a\nb", [], [[]], [1], [0, 1], [1, 0], ["a"], {}, {"a": 1}, None,
    NESTED,
    [[0, 1], [1, 1]], [[0, math.nan], [10, 1]], [[0, 1], [10, math.inf]], [[10, 1], [0, 1]], [[0, 1], [-5, 1]],
    [[0, 1], [0, 1]], [[0, 1], [5, 1], [3, 1]], [[1, 1], [5, 1]], [[0, 1], [10**400, 1]], [[0, 1], [math.inf, 1]],
    [[0, 1], [True, 1]], [[0, 1], [2.5, 1]], [[0, 1]], [[0, 1], [5]], [[0, 1, 2], [5, 1, 2]], [[0, [1]], [5, 1]],
    {"kind": "nobody"}, [64] * 1000, [10**9], [0], [1.5], [True], [-0.0], [math.nan], "builtins:exit", "os:getcwd",
)  # fmt: skip
NAMES = ("nobody", "", " ", "lr ", "LR", "_tiers", "__class__", "in_evaluation", "algo_class", "env", "seed", "\u0131d",
         "a.b", "a\nb", "average_rate", "use_mask", "network", "x" * 300)  # fmt: skip
EXTRA: dict[str, Any] = {  # settings that no preset has
    "replay": "shared", "replay_priority": "td_error", "learning_starts": 5000,
    "tiers": {
        "alert_triage": {"algorithm": "DQN", "action_masking": False, "agents": [], "num_learners": 0},
        "threat_hunter": {"algorithm": "SAC", "tau": 0.01, "rllib": {"grad_clip": 1.0, "grad_clip_by": "value"}},
        "response_orchestrator": {"algorithm": "scripted", "policy": "rule-soar", "agents": []},
        "strategic_coordinator": {"algorithm": "PPO", "minibatch_size": 64, "num_epochs": 2, "lambda_": 0.9,
                                  "rllib": {"use_kl_loss": True, "kl_coeff": 0.2, "kl_target": 0.01}},
    },
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A file.

    Attributes:
        what: what is odd about it.
        scenario: what is to be trained on.
        name: of the file.
        content: of the file.
    """

    what: str
    scenario: str
    name: str
    content: bytes


# ---- plain data and its places
def sources() -> list[tuple[str, dict[str, Any]]]:
    """(scenario, settings) that are right."""
    found = [(scenario, dict(preset)) for scenario, preset in PRESETS.items()]
    found.append(("soc-cage4-v0", {**CAGE4_RUN, "tiers": PRESETS["soc-v1"]["tiers"]}))
    found += [("paper-v0", json.loads(path.read_text())) for path in sorted((ROOT / "results").glob("*config*.json"))]
    found += [("soc-v1", EXTRA), ("paper-v0", EXTRA)]
    others = ("tune.md", "playbooks.md")  # search spaces, whose values are distributions; rules
    for page in sorted(page for page in (ROOT / "docs").rglob("*.md") if page.name not in others):
        blocks = page.read_text().split("```toml\n")[1:]
        found += [("soc-v1", tomllib.loads(block.partition("```")[0])) for block in blocks]
    return json.loads(json.dumps([list(pair) for pair in found]))


def _within(settings: Any) -> list[Place]:
    """Every place but the whole."""
    return [at for at, _ in places(settings) if at]


def renamed(settings: Any, at: tuple[Any, ...], name: Any) -> Any:
    """A copy with another name at a place; as it is where the place is in a list."""
    changed, inner = opened(settings, at)
    if isinstance(inner, dict):
        inner[name] = inner.pop(at[-1])
    return changed


# ---- writing
def _special(number: float, words: tuple[str, str]) -> str:
    return words[0] if math.isnan(number) else words[1] if number > 0 else f"-{words[1]}"


def to_toml(value: Any) -> str:
    """A value of TOML; what it has no word for becomes text."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))} = {to_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return _special(value, ("nan", "inf"))
    return json.dumps("none" if value is None else value)


def to_yaml(value: Any) -> str:
    """A value of YAML in flow style."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{to_yaml(k)}: {to_yaml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(to_yaml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return _special(value, (".nan", ".inf"))
    return json.dumps(value)


def written(settings: Any, suffix: str) -> str:
    """The text of a file."""
    if suffix == ".json":
        return json.dumps(settings)
    if suffix == ".toml":
        return "\n".join(f"{json.dumps(str(name))} = {to_toml(value)}" for name, value in settings.items())
    return "\n".join(f"{to_yaml(name)}: {to_yaml(value)}" for name, value in settings.items())


# ---- what may be wrong
# Whole files, by suffix.
TEXTS: dict[str, tuple[bytes, ...]] = {
    ".json": (
        b"1", b"null", b"true", b'"text"', b"[]", b"NaN", b"{}", b'{"tiers": null}', b'{"n_step": 1, "n_step": 2}',
        b'{"n_step": 1e999999, "train_batch_size": -1e999999}', b'{"\\ud800": 1, "tiers": {"\\udfff": {}}}',
    ),
    ".toml": (
        b"n_step = 0x" + b"f" * 6_000, b"n_step = 2020-01-01", b"ema_tau = 07:32:00", b"a = 1979-05-27T07:32:00Z",
        b"n_step = 1_000", b"n_step = 0o17", b"n_step = +3", b"ema_tau = 1e400", b"ema_tau = 5e-324", b"ema_tau = -nan",
        b"[tiers]\n[tiers.alert_triage]\nlr = 1e-4\n[tiers.alert_triage]\n", b"[[tiers]]\na = 1",
        b"tiers.alert_triage.lr = 1e-4\ntiers.alert_triage.lr.x = 1", b"[tiers.alert_triage.lr]\nx = 1",
    ),
    ".yaml": (
        b"1: 2", b"tiers: {1: {}}", b"? [1]\n: 2", b"? {a: 1}\n: 2", b"~: 1", b"true: 1", b"? &a [*a]\n: 1",
        b"tiers:\n  alert_triage: &a {hiddens: [64, 64]}\n  threat_hunter: {<<: *a}\n", b"<<: 1", b"<<: [1]",
        b"a: &a [*a]", b"&a {tiers: *a}", b"tiers: &a {alert_triage: *a}", b"tiers: &a {<<: *a}",
        b"a0: &a0 [1, 1]\n" + b"".join(
            b"a%d: &a%d [%s]\n" % (k, k, b", ".join([b"*a%d" % (k - 1)] * 9)) for k in range(1, 12)
        ),
        b"n_step: !!int '3'", b"n_step: !!str 3", b"!!set {a}", b"a: !!binary abc=", b"a: !x 1", b"!!map [1]",
        b"a: !!python/name:os.getcwd ''", b"a: !!timestamp '2020-01-01'", b"n_step: !!int x",
        b"a: !!float x", b"!!omap [a: 1]", b"!!map a", b"!!seq {a: 1}", b"n_step: 3\n---\nn_step: 4",
        b"n_step: 1:30", b"n_step: 0x10", b"n_step: 0b11", b"n_step: 1_0", b"n_step: 010", b"ema_tau: 1:30.5",
    ),
}  # fmt: skip


def _values(rng: random.Random, settings: Any) -> tuple[str, Any]:
    at, value = rng.choice(_within(settings)), rng.choice(VALUES)
    return f"{'.'.join(map(str, at))}={str(value)[:30]!r}", put(settings, at, value)


def _names(rng: random.Random, settings: Any) -> tuple[str, Any]:
    at, name = rng.choice(_within(settings)), rng.choice(NAMES)
    return f"{'.'.join(map(str, at))} is called {name[:30]!r}", renamed(settings, at, name)


def _added(rng: random.Random, settings: Any) -> tuple[str, Any]:
    inside = [at for at, value in places(settings) if at and isinstance(value, dict)]
    at, name, value = rng.choice([(), *inside]), rng.choice(NAMES), rng.choice(VALUES)
    return f"{'.'.join(map(str, at))} has {name[:30]!r} too", put(settings, (*at, name), value)


def _tiers(rng: random.Random, settings: Any) -> tuple[str, Any]:
    tiers = copy.deepcopy(settings.get("tiers", {}))
    tier = rng.choice(list(tiers) or ["alert_triage"])
    own = tiers.setdefault(tier, {})
    agent = rng.choice(["alert_triage_0", "threat_hunter_0", "nobody", "", 5, None])
    change = rng.randrange(8)
    if change == 0:
        tiers["nobody"] = own
    elif change == 1:
        tiers |= {name: {**tiers.get(name, {}), "agents": [agent]} for name in ("alert_triage", "threat_hunter")}
    elif change == 2:
        own["agents"] = [agent, agent]
    elif change == 3:
        own["algorithm"] = rng.choice(["DQN", "SAC", "PPO", "MADDPG", "scripted", "A2C", 1, None, [], {}])
    elif change == 4:
        tiers[tier] = {
            "algorithm": "scripted",
            "policy": rng.choice(["expert", "nobody", "os:getcwd", 3, [], {"a": 1}]),
        }
    elif change == 5:
        own["checkpoint"] = rng.choice(["nowhere", "/", "", "\x00", 3])
    elif change == 6:
        own["encoder"] = rng.choice(["mlp", "zones", "attention", "zone", 1])
    else:
        own["action_masking"] = rng.choice([True, False, 1, "yes"])
    return f"tiers, {change} of {tier}", {**settings, "tiers": tiers}


CHANGES: tuple[Callable[[random.Random, Any], tuple[str, Any]], ...] = (
    _values, _values, _values, _values, _values, _names, _added, _tiers,
)  # fmt: skip


def _spoilt(rng: random.Random, settings: Any, suffix: str) -> tuple[str, str, bytes]:
    """(what is odd, suffix, content) of a file whose text is at fault."""
    text = written(settings, suffix)
    data = text.encode()
    where = rng.randrange(1, len(data))
    kinds: dict[str, tuple[str, bytes]] = {
        "cut off": (suffix, data[:where]),
        "a byte changed": (suffix, data[:where] + bytes([rng.randrange(256)]) + data[where + 1 :]),
        "a part taken out": (suffix, data[:where] + data[where + rng.randrange(40) :]),
        "a line twice": (suffix, data + b"\n" + data.splitlines()[-1]),
        "UTF-16": (suffix, text.encode("utf-16")),
        "a mark of byte order": (suffix, b"\xef\xbb\xbf" + data),
        "Latin-1": (suffix, data + b"\n# \xe9"),
        "another suffix": (rng.choice([".ini", "", ".JSON", ".yml", ".toml", ".json", ".yaml", ".txt"]), data),
        "empty": (suffix, b""),
        "zeros": (suffix, bytes(100)),
        "deep": (suffix, {".json": b"[" * 50_000, ".toml": b"a = " + b"[" * 50_000}.get(suffix, b"[" * 5_000)),
        "deep mapping": (suffix, {".json": b'{"a": ', ".toml": b"a = {a = "}.get(suffix, b"{a: ") * 2_000),
        "a huge number": (suffix, data + (b"" if suffix == ".json" else b"\n") + b'"n_step" = ' + b"9" * 6_000),
        "large": (suffix, data + b" " * (1 << 20)),
    }
    for kind, texts in TEXTS.items():
        for number, odd in enumerate(texts):
            kinds[f"{kind} {number}"] = (kind, odd)
    what = rng.choice(list(kinds))
    return what, *kinds[what]


def cases(seed: int, number: int) -> Iterator[Case]:
    """That many files."""
    rng, known = random.Random(seed), sources()
    for index in range(number):
        scenario, settings = rng.choice(known)
        suffix = rng.choice((".toml", ".yaml", ".json"))
        if index % 5 == 4:
            what, suffix, content = _spoilt(rng, settings, suffix)
        else:
            what, changed = rng.choice(CHANGES)(rng, settings)
            content = written(changed, suffix).encode("utf-8", "surrogatepass")
        yield Case(what, scenario, f"case{index}{suffix}", content)


# ---- what is made of them
SECONDS = 30.0  # a file that takes longer has failed


class HangError(Exception):
    """A file took too long."""


def _interrupt(*args: Any) -> None:
    raise HangError


@dataclass
class Outcome:
    """ "accepted", "refused" or "failed", with the error, or the configuration."""

    case: Case
    kind: str
    error: BaseException | None = None
    config: Any = None


def outcomes(seed: int, number: int, check: Callable[[Path, str], Any], folder: Path) -> Iterator[Outcome]:
    """`check(file, scenario)` of every file: a configuration, or an error. In the main thread only."""
    from policies import HMARLConfig

    HMARLConfig().validate()  # what is imported at the first time is not to be interrupted
    signal.signal(signal.SIGALRM, _interrupt)
    for case in cases(seed, number):
        path = folder / case.name
        path.write_bytes(case.content)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            config = check(path, case.scenario)
        except HMARLSOCError as error:
            is_one_line = "\n" not in str(error) and len(str(error)) < 2_000
            yield Outcome(case, "refused" if is_one_line else "failed", error)
        except Exception as error:
            yield Outcome(case, "failed", error)
        else:
            is_legal = all(abs(x) < math.inf for x in numbers_in([config.tier_settings, own_settings(config)]))
            yield Outcome(case, "accepted" if is_legal else "failed", None, config)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            path.unlink()


def own_settings(config: Any) -> dict[str, Any]:
    """What a configuration has of `HMARLSettings`."""
    from policies.hmarl.settings import HMARLSettings
    from soc_env.settings import field_names

    return {name: getattr(config, name) for name in field_names(HMARLSettings)}


def numbers_in(value: Any) -> Iterator[float]:
    """All numbers of plain data."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for inner in value:
            yield from numbers_in(inner)
    elif isinstance(value, (int, float)):
        yield value


def checked_at_the_door(path: Path, scenario: str) -> Any:
    """What `hmarl-soc train --config FILE --scenario NAME` does before anything starts: the checked configuration."""
    from experiments.cli.config_file import read_config
    from experiments.run import hmarl_config
    from experiments.run_settings import check_names, with_preset
    from policies.presets import DEFAULT_NUM_ENVS, NUM_ENVS

    given = read_config(path)
    check_names(given, {}, f"config={path}")
    settings = {"scenario": scenario, "seed": 0, "workers": 0, "num_envs": NUM_ENVS.get(scenario, DEFAULT_NUM_ENVS)}
    config = hmarl_config({**settings, "overrides": {}, "config": with_preset(scenario, given)})
    config.validate()
    return config


def _main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--number", type=int, default=2_642)
    parser.add_argument("--show", type=int, default=5, help="tracebacks")
    options = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    failures: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for outcome in outcomes(options.seed, options.number, checked_at_the_door, Path(folder)):
            counts[outcome.kind] += 1
            if outcome.kind == "failed":
                error = outcome.error
                frames = traceback.extract_tb(error.__traceback__) if error else []
                place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
                key = f"{type(error).__name__} {place}: {str(error)[:90]}"
                if failures[key] == 0 and len(failures) <= options.show:
                    print(
                        f"{outcome.case.scenario} {outcome.case.name} {outcome.case.what[:80]}: {key}", file=sys.stderr
                    )
                failures[key] += 1
    for key, number in failures.most_common():
        print(f"{number:5} {key!r}")
    print(f"seed {options.seed}: {sum(counts.values())} files, {dict(sorted(counts.items()))}")
    return int(counts["failed"] > 0)


if __name__ == "__main__":
    sys.exit(_main())
