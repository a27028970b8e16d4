"""The network of a risk model: one hidden layer, binary cross-entropy, AdamW; a function of rows and seed."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from experiments.evaluate import one_thread
from experiments.risk.rows import Rows
from soc_env.soc.risk_model import RiskModel

UNITS = 16
EPOCHS, BATCH = 8, 1024
LEARNING_RATE, LAST_RATE = 3e-3, 1e-5  # linear between the two
WEIGHT_DECAY = 1e-4
DIGITS = 6  # of a weight in the file


def fit(rows: Rows, seed: int, units: int = UNITS, epochs: int = EPOCHS) -> RiskModel:
    """A model of the probability that a host with such inputs is an intruder's.

    No class weights: what comes out is to be a probability, and rare is what intruders are.

    Args:
        rows: at least one.
        seed: of the first weights and of the order of rows.
    """
    with one_thread():
        return _fit(rows, torch.Generator().manual_seed(seed), units, epochs)


def _fit(rows: Rows, generator: torch.Generator, units: int, epochs: int) -> RiskModel:
    mean, scale = rows.inputs.mean(0, dtype=np.float64), 1.0 / (rows.inputs.std(0, dtype=np.float64) + 1e-6)
    inputs = torch.from_numpy(((rows.inputs - mean) * scale).astype(np.float32))
    target = torch.from_numpy(rows.is_bad.astype(np.float32))
    hidden, output = nn.Linear(inputs.shape[1], units), nn.Linear(units, 1)
    for layer in (hidden, output):
        bound = layer.in_features**-0.5
        for parameter in layer.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
    weights = [*hidden.parameters(), *output.parameters()]
    optimizer = torch.optim.AdamW(weights, LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    num_steps, step = epochs * -(-len(rows) // BATCH), 0
    for _ in range(epochs):
        for batch in torch.randperm(len(rows), generator=generator).split(BATCH):
            rate = LEARNING_RATE + (LAST_RATE - LEARNING_RATE) * step / num_steps
            optimizer.param_groups[0]["lr"] = rate
            logits = output(torch.relu(hidden(inputs[batch])))[:, 0]
            loss = nn.functional.binary_cross_entropy_with_logits(logits, target[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    weight, bias = _array(hidden.weight) * scale, _array(hidden.bias)
    return RiskModel(
        _rounded(weight), _rounded(bias - weight @ mean), _rounded(_array(output.weight)[0]),
        float(_rounded(_array(output.bias))[0]),
    )  # fmt: skip


def _array(weights: torch.Tensor) -> np.ndarray:
    return weights.detach().numpy().astype(np.float64)


def _rounded(array: np.ndarray) -> np.ndarray:
    return np.array([float(f"{value:.{DIGITS}g}") for value in array.ravel()]).reshape(array.shape)
