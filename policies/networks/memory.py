"""What networks make of past minutes: summaries that are added to what their first layer makes of the present.

A network with memory reads rows of `policies.past`: the present observation, K before it, and which of those there
were. A network by tokens recalls each zone's own past, with shared weights, and that of the context with the cases;
others recall whole observations. What they recall is

* "attention": the past minutes, weighted by how they answer what the present asks (Vaswani et al. 2017, equation 1);
  how long ago a minute was is a learned embedding. Asking finds nothing where there is no past: a score of 0 stands
  for it.
* "gru": the last state of a gated recurrent unit that has read them in order (Cho et al. 2014).

The output layer begins at 0: a network begins as the one without memory.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from policies.networks.blocks import RunningNorm, affine, for_all
from policies.networks.tokens import Tokens
from policies.networks.zones import Windows, ZoneNorm
from policies.past import row_size
from soc_env.errors import ConfigError

HEADS = 4


class AttentionRecall(nn.Module):
    """Attention of the present to past minutes: (..., F), (..., K, F) and (..., K) to (..., size)."""

    def __init__(self, in_dim: int, size: int, minutes: int):
        super().__init__()
        self.embed, self.ask = nn.Linear(in_dim, size), nn.Linear(in_dim, size)
        self.age = nn.Parameter(torch.zeros(minutes, size))
        nn.init.normal_(self.age, std=0.5)

    def forward(self, now: torch.Tensor, past: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        embedded = affine(self.embed, past)
        age = self.age if self.age.dim() == 2 else self.age.view(-1, *[1] * (embedded.dim() - 3), *self.age.shape[1:])
        minutes = torch.relu(embedded + age).unflatten(-1, (HEADS, -1))  # (..., K, heads, d)
        asked = affine(self.ask, now).unflatten(-1, (HEADS, -1)).unsqueeze(-3)
        score = (minutes * asked).sum(-1) / math.sqrt(minutes.shape[-1])
        score = score.masked_fill(~seen.unsqueeze(-1), -torch.inf)
        weights = torch.softmax(nn.functional.pad(score, (0, 0, 0, 1)), -2)[..., :-1, :]
        return (weights.unsqueeze(-1) * minutes).sum(-3).flatten(-2)


class GRURecall(nn.Module):
    """A gated recurrent unit over past minutes: (..., F), (..., K, F) and (..., K) to (..., size)."""

    def __init__(self, in_dim: int, size: int, minutes: int):
        super().__init__()
        self.read, self.keep = nn.Linear(in_dim, 3 * size), nn.Linear(size, 3 * size)

    def forward(self, now: torch.Tensor, past: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        read = affine(self.read, past)
        state = torch.zeros_like(read[..., 0, : read.shape[-1] // 3])
        for k in range(past.shape[-2]):
            reset, update, new = read[..., k, :].chunk(3, -1)
            kept_reset, kept_update, kept_new = affine(self.keep, state).chunk(3, -1)
            new = torch.tanh(new + torch.sigmoid(reset + kept_reset) * kept_new)
            after = torch.lerp(new, state, torch.sigmoid(update + kept_update))
            state = torch.where(seen[..., k, None], after, state)
        return state


KINDS: dict[str, Any] = {"attention": AttentionRecall, "gru": GRURecall}
"""The setting `memory.kind`."""


class Recall(nn.Module):
    """A summary of the past of one kind of thing, as an addition to a layer of `dim`."""

    def __init__(self, kind: str, in_dim: int, size: int, minutes: int, dim: int):
        super().__init__()
        self.recall, self.write = KINDS[kind](in_dim, size, minutes), nn.Linear(size, dim)
        nn.init.zeros_(self.write.weight)
        nn.init.zeros_(self.write.bias)

    def forward(self, now: torch.Tensor, past: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        return affine(self.write, self.recall(now, past, seen))


class Memory(nn.Module):
    """The memory of one network.

    Args:
        kind: a key of `KINDS`.
        minutes: K.
        size: of a summary.
        own_dim: of an observation of the network's own agent, whose past it is.
        start: where rows of `policies.past` begin in what the network reads: 0, or behind the joint observation.
        dim: of the layer that summaries are added to.
        tokens: of the own observation, for networks by tokens.
        hides_number: whether the number of a case's zone is not read, which would tie outputs to the order of zones.
    """

    norm: RunningNorm

    def __init__(
        self,
        kind: str,
        minutes: int,
        size: int,
        own_dim: int,
        start: int,
        dim: int,
        tokens: Tokens | None = None,
        hides_number: bool = False,
    ):
        super().__init__()
        self.minutes, self.own_dim, self.start = minutes, own_dim, start
        self.tokens, self.hides_number = tokens, hides_number
        if tokens is None:
            self.norm = RunningNorm(own_dim)
            self.whole = Recall(kind, own_dim, size, minutes, dim)
            return
        self.norm = ZoneNorm(tokens)
        self.zone_windows, self.case_windows = Windows(tokens.zones, tokens.read), Windows(tokens.cases, tokens.read)
        self.context_windows = Windows(tokens.context[None], tokens.read)
        num_read = tokens.cases.size - hides_number * len(tokens.cases)
        self.whole = Recall(kind, len(tokens.context) + num_read, size, minutes, dim)
        self.zone = Recall(kind, tokens.zones.shape[1], size, minutes, dim) if len(tokens.zones) else None

    def prepare(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """What no weight changes of what it reads of rows, normalised: of the whole (B, K + 1, F) and of zones
        (B, Z, K + 1, F) or None, the present last; and which minutes there were (B, K), bool."""
        now, past, seen = self.split(rows)
        minutes = torch.cat([past, now.unsqueeze(1)], 1)  # (B, K + 1, D)
        whole, zones = self.things(self.norm(minutes.flatten(0, 1)))
        whole = whole.unflatten(0, (-1, self.minutes + 1))
        if zones is None:
            return whole, None, seen
        return whole, zones.unflatten(0, (-1, self.minutes + 1)).transpose(1, 2), seen

    def forward(self, read: tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]) -> tuple[Any, Any]:
        """Of what `prepare` gives what is added for all that is observed, (B, dim), and for each zone, (B, Z, dim) or
        None; of stacked networks with their axis in front."""
        whole, zones, seen = read
        added = self.whole(for_all(self, whole[:, -1]), for_all(self, whole[:, :-1]), for_all(self, seen))
        if zones is None or self.zone is None:
            return added, None
        seen = seen.unsqueeze(1).expand(-1, zones.shape[1], -1)
        return added, self.zone(for_all(self, zones[:, :, -1]), for_all(self, zones[:, :, :-1]), for_all(self, seen))

    def split(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The present (B, D), the past (B, K, D), and which minutes there were (B, K), bool.

        Raises:
            ConfigError: rows without a past.
        """
        wanted = self.start + row_size(self.own_dim, self.minutes)
        if rows.shape[1] != wanted:
            raise ConfigError(
                f"a network with memory.minutes={self.minutes} reads rows of {wanted} entries "
                f"(`policies.past`), got {rows.shape[1]}"
            )
        sizes = [self.own_dim, self.minutes * self.own_dim, self.minutes]
        now, past, seen = rows[:, self.start :].split(sizes, 1)
        return now, past.unflatten(1, (self.minutes, self.own_dim)), seen > 0

    def things(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Of normalised observations (n, entries read): what is recalled as a whole (n, F), and of zones (n, Z, F)."""
        if self.tokens is None:
            return x, None
        whole = [part.squeeze(1) for part in self.context_windows(x)]
        for cases in self.case_windows(x):
            read = [k for k in range(cases.shape[-1]) if k != self.tokens.case_zone or not self.hides_number]
            whole.append((cases if len(read) == cases.shape[-1] else cases[..., read]).flatten(1))
        zones = self.zone_windows(x)
        return torch.cat(whole, -1), torch.cat(zones, -1) if zones else None
