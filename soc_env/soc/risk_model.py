"""Learned risk models of `soc-v1`: a small network that says how likely it is that an intruder has a host.

A model reads what the SOC knows of a host (`INPUTS`; nothing of the truth) and takes the place of the SIEM's formula
(`soc_env.soc.risk`) where a scenario names one, `risk_model="learned"` or a file: in what agents see, in which hosts
tools are sent to, in where hunts look and how cases rank. Approval of high-risk actions goes by the formula always: a
model is no way round it. Its risk score is the root of a probability: 0.5 where one such host in four is an intruder's.

    file.json   {"format": 1, "inputs": [...], "hidden": [[...], ...], "hidden_bias": [...], "output": [...],
                 "output_bias": 0.0, "card": {...}}

`hmarl-soc risk-model` trains one and writes such a file; `card` says on what, and how well it does, and has no effect.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from soc_env.errors import ConfigError

DATA = Path(__file__).parent / "data"
SHIPPED = {"learned": DATA / "risk_model.json"}  # name -> file in the package
FORMAT = 1
MAX_BYTES = 2**20
MAX_UNITS = 64  # of the hidden layer
LARGEST = 1e6  # of any weight
# What a model reads of a host, in the order of `kernels.rating.read_inputs`: name -> what it is.
INPUTS: dict[str, str] = {
    "process": "the SIEM's counter of alerts about the host itself",
    "target": "of network alerts that have it as their target",
    "source": "of network alerts that have it as their source",
    "finding": "weight of findings",
    "verdict": "weight of escalated cases",
    "formula": "the SIEM's risk score",
    "log_evidence": "log(evidence + 0.05)",
    "isolated": "whether it is isolated",
    "alert_age": "minutes since its last alert, at most 60, in units of 20",
    "hunt_age": "minutes since a hunt looked at it, at most 60, in units of 20",
    "alerts": "alerts about it, half-life as in the risk score; so are the next two",
    "precision": "sum of the precision of their rules",
    "sharpness": "sum of their confidence, relative to that of their rules",
    "mean_precision": "precision / (alerts + 0.1)",
    "mean_sharpness": "sharpness / (alerts + 0.1)",
    "rules": "different rules that named it, in units of 3",
    "stage": "furthest tactic of an alert, 0 to 1, half-life as of findings; so are the next four",
    "peer": "highest risk score (formula) on the other side of a network alert, when it came",
    "reading": "sum of (reading - 0.5) of its cases' context, enriched and queried",
    "looked": "share of the alerts' weight that hunts without a finding took away, summed",
    "cleared": "cases of it closed as benign",
    "value": "business value",
    "vulnerability": "probability that an exploit works",
    "workstation": "1 if it is one; so are the next two",
    "server": "",
    "domain_controller": "",
    "segment": "evidence against the other hosts of its segment, x / (x + 2)",
    "segment_top": "highest risk score (formula) of the others there",
    "reach": "evidence in the segments from which its own can be reached, x / (x + 5)",
    "overall": "evidence against all other hosts, x / (x + 10)",
    "events": "raw events of its zone, in 5 standard deviations",
    "indicators": "intruders with known indicators, of 3",
    "clock": "share of the episode",
}
_ARRAYS = ("hidden", "hidden_bias", "output")


@dataclass(frozen=True, eq=False)
class RiskModel:
    """One hidden layer of `U` rectified units on the `I = len(INPUTS)` inputs; a log-odds comes out.

    Attributes:
        hidden, hidden_bias: (U, I) and (U,) float64.
        output, output_bias: (U,) float64 and a float.
        card: Plain data about the model, without effect.

    Raises:
        ConfigError: An array of the wrong shape, or a number that is not finite or above 1e6.
    """

    hidden: np.ndarray
    hidden_bias: np.ndarray
    output: np.ndarray
    output_bias: float
    card: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        units = len(self.hidden_bias) if np.ndim(self.hidden_bias) == 1 else 0
        if not 1 <= units <= MAX_UNITS:
            raise ConfigError(f"risk model: hidden_bias has {units} units; allowed: 1 to {MAX_UNITS}, in a list")
        size = len(INPUTS)
        shapes = {"hidden": (units, size), "hidden_bias": (units,), "output": (units,), "output_bias": ()}
        for name, shape in shapes.items():
            array = _numbers(name, getattr(self, name), shape)
            object.__setattr__(self, name, array if array.ndim else float(array))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RiskModel:
        """The model in a file.

        Raises:
            ConfigError: There is no such file, or it holds no model of this version; names the file.
        """
        try:
            with open(path, "rb") as file:
                text = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ConfigError(f"risk_model: {str(path)!r} cannot be read ({error.strerror})") from error
        try:
            return cls.from_text(text)
        except ConfigError as error:
            raise ConfigError(f"risk_model: {str(path)!r}: {error}") from None

    @classmethod
    def from_text(cls, text: str | bytes) -> RiskModel:
        """The model in the text of a file; raises ConfigError as `load`."""
        if len(text) > MAX_BYTES:
            raise ConfigError(f"too large; allowed are {MAX_BYTES} bytes")
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise ConfigError("no JSON; allowed: a file that `hmarl-soc risk-model` has written") from None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise ConfigError(f"no risk model of format {FORMAT}; `hmarl-soc risk-model` writes one")
        names = (*_ARRAYS, "output_bias")
        missing = [name for name in ("inputs", *names) if name not in found]
        if missing:
            raise ConfigError(f"{missing[0]!r} is missing; allowed: a file as it was written")
        if found["inputs"] != list(INPUTS):
            raise ConfigError("made for other inputs than this version of hmarl-soc has; train it anew")
        card = found.get("card")
        return cls(**{name: found[name] for name in names}, card=card if isinstance(card, dict) else {})

    @classmethod
    def find(cls, name: str) -> RiskModel:
        """The model that a scenario's `risk_model` names: one that ships with the package, a file, or a file's text.

        Raises:
            ConfigError: As `load`.
        """
        if not name.startswith("{"):
            return _shipped(name) if name in SHIPPED else cls.load(name)
        try:
            return _of_text(name)
        except ConfigError as error:
            raise ConfigError(f"risk_model, as text: {error}") from None

    def text(self) -> str:
        """What `load` reads, with the numbers as they are."""
        data: dict[str, Any] = {"format": FORMAT, "inputs": list(INPUTS)}
        data |= {name: getattr(self, name).tolist() for name in _ARRAYS}
        data |= {"output_bias": self.output_bias, "card": self.card}
        return json.dumps(data, allow_nan=False) + "\n"

    def hash(self) -> str:
        """Short hex digest of the numbers: equal digests mean the same risk scores."""
        digest = hashlib.sha256(json.dumps(list(INPUTS)).encode())
        for name in (*_ARRAYS, "output_bias"):
            digest.update(np.asarray(getattr(self, name)).tobytes())
        return digest.hexdigest()[:12]

    def probability(self, inputs: np.ndarray) -> np.ndarray:
        """(N, I) inputs -> (N,) probability that an intruder has the host; the square of the risk score."""
        values = np.maximum(0.0, inputs @ self.hidden.T + self.hidden_bias)
        return 1.0 / (1.0 + np.exp(-np.clip(values @ self.output + self.output_bias, -30.0, 30.0)))

    def write_to(self, record: np.void) -> None:
        """Fills a simulator's RISK_MODEL record."""
        units = len(self.output)
        record["num_units"] = units
        record["output_bias"] = self.output_bias
        for name in ("hidden", "hidden_bias", "output"):
            record[name][:units] = getattr(self, name)


@functools.cache
def _shipped(name: str) -> RiskModel:
    return RiskModel.load(SHIPPED[name])


@functools.lru_cache(maxsize=8)
def _of_text(text: str) -> RiskModel:
    return RiskModel.from_text(text)


def kept(name: str) -> str:
    """A scenario's `risk_model` as run folders keep it: a file as its text, so that it may change or go.

    Raises:
        ConfigError: As `RiskModel.load`.
    """
    return name if not name or name in SHIPPED or name.startswith("{") else RiskModel.load(name).text().strip()


def _numbers(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.array(np.nan)
    if array.shape != shape or not (np.abs(array) <= LARGEST).all():
        raise ConfigError(f"risk model: {name} must be numbers of shape {shape}, none beyond {LARGEST:g}")
    array.flags.writeable = False
    return array
