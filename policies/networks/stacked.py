"""Networks of one form, evaluated side by side: twin critics read the same, so what they read is prepared once.

A stacked network is a copy of the first whose parameters have an axis of networks in front, and whose outputs have it
too. The networks themselves keep their names and their state, but their weights become views of the stacked ones: what
changes either changes both.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn


class Stacked:
    """N networks of one form, side by side.

    Args:
        networks: with the same statistics of what they read.

    Attributes:
        network: reads what each of them reads, and puts out (N, ...).
    """

    def __init__(self, networks: Sequence[nn.Module]):
        self.owners = [list(network.parameters()) for network in networks]
        self.network = copy.deepcopy(networks[0])
        for module in self.network.modules():
            module.num_stacked = len(networks)  # type: ignore[assignment]
            for name, parameter in list(module.named_parameters(recurse=False)):
                setattr(module, name, nn.Parameter(parameter.detach().expand(len(networks), *parameter.shape).clone()))
        self.weights = list(self.network.parameters())
        self.buffers = list(zip(self.network.buffers(), networks[0].buffers(), strict=True))
        self.link()

    @torch.no_grad()
    def link(self) -> None:
        """Makes the networks' weights views of the stacked ones where they are not, as after a load; statistics are
        shared with the first network."""
        for k, owned in enumerate(self.owners):
            for own, weight in zip(owned, self.weights, strict=True):
                if own.data_ptr() != weight[k].data_ptr():
                    weight[k].copy_(own)
                    own.data = weight[k]
        for mine, theirs in self.buffers:
            if mine.data_ptr() != theirs.data_ptr():
                mine.data = theirs.data
