"""The update of a learner: many small gradient steps in one call, on tensors that are made once.

RLlib's own loop spends as much on every step as a small network does: batches of batches, metrics, checks of single
tensors. Here a call turns columns into tensors, and a step is: losses, gradients, clipping, Adam, target networks. What
is measured of losses is that of the last step, as in RLlib's.

Deliberate differences: what a step draws comes from the learner's own generator, so that tiers can learn side by side;
steps trained are counted as rows that were learned from.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.rl_module.apis import TargetNetworkAPI
from ray.rllib.utils import metrics as keys

from policies.learners.terms import POLICY, RESTS, terms_of
from policies.networks import reading
from policies.networks.passes import Workspace, fits, read_alike
from policies.networks.zones import ZoneMLP

Batch = Mapping[str, Any]  # tensors, and what was prepared
# Names of what is prepared for a network, see `read_by`.
ACTOR_READS, NEXT_ACTOR_READS, CRITICS_READ, TARGETS_READ = (
    "actor_reads",
    "next_actor_reads",
    "critics_read",
    "targets_read",
)


@dataclass
class Losses:
    """Of one gradient step.

    Attributes:
        by_optimizer: name -> scalar; or what says so, where nothing is differentiated by it.
        logs: what is measured; called after the last step of an update alone.
        td_error: (B,), for priorities.
    """

    by_optimizer: dict[str, torch.Tensor] | Callable[[], dict[str, torch.Tensor]]
    logs: Callable[[], dict[str, torch.Tensor]] = dict
    td_error: torch.Tensor | None = None

    @property
    def total(self) -> torch.Tensor:
        found = self.by_optimizer() if callable(self.by_optimizer) else self.by_optimizer
        return torch.stack([loss.detach().reshape(()) for loss in found.values()]).sum()


@dataclass
class Measured:
    """What gradient steps say of themselves.

    Attributes:
        values: name, RLlib's, -> scalar, of the last step.
        td_error: (rows,), for priorities; None where there are none.
        rows: that were learned from.
        steps: how many.
    """

    values: dict[str, torch.Tensor]
    td_error: np.ndarray | None
    rows: int
    steps: int


class Descent:
    """One Adam of RLlib's, stepped without its walk over parameters.

    Its state stays where it was: moments by parameter in `optimizer.state`, the rate in `param_groups`.
    """

    def __init__(self, optimizer: torch.optim.Optimizer):
        self.optimizer = optimizer
        (self.group,) = optimizer.param_groups
        self.parameters: list[torch.Tensor] = self.group["params"]
        self.moving: list[torch.Tensor] = []  # those with gradients, as of the last step

    def clip(self, limit: float, measure: str) -> torch.Tensor | None:
        """RLlib's three measures; the norm before, where it is that of all gradients."""
        if measure == "value":
            torch.nn.utils.clip_grad_value_(self.parameters, limit, foreach=True)
            return None
        if measure == "global_norm":
            return torch.nn.utils.clip_grad_norm_(self.parameters, limit, foreach=True)
        for parameter in self.parameters:
            torch.nn.utils.clip_grad_norm_(parameter, limit)
        return None

    def step(self) -> None:
        moving = [p for p in self.parameters if p.grad is not None]
        if len(moving) != len(self.moving):
            self.finish()
            if not all(self.optimizer.state.get(p) for p in moving):
                self.optimizer.step()  # which makes the state
                return
            self._begin(moving)
        for count in set(self.counts):
            count += 1.0
        self.passed += 1
        beta1, beta2 = self.group["betas"]
        torch._fused_adam_(  # type: ignore[call-overload]
            moving,
            [p.grad for p in moving],
            *self.moments,
            [],
            self.counts,
            lr=self.group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=self.group["weight_decay"],
            eps=self.group["eps"],
            amsgrad=False,
            maximize=False,
        )

    def _begin(self, moving: list[torch.Tensor]) -> None:
        """Looks up moments; parameters that have made as many steps share one count until the end of the update."""
        states = [self.optimizer.state[p] for p in moving]
        self.moving, self.passed = moving, 0
        self.moments = [[state[name] for state in states] for name in ("exp_avg", "exp_avg_sq")]
        self.steps = [state["step"] for state in states]
        by_number = {float(step): step.clone() for step in self.steps}
        self.counts = [by_number[float(step)] for step in self.steps]

    def finish(self) -> None:
        """Brings the counts of steps in the optimiser's state up to date; after an update's last step."""
        for step in self.steps if self.moving else ():
            step += self.passed
        self.moving = []


@dataclass
class Differentiated:
    """What one or more optimisers' losses are differentiated by.

    Attributes:
        names: of the optimisers.
        owners: parameters, network by network.
        weights: the tensors that take part in losses: the parameters themselves, or those that they are views of, with
            an axis of networks in front.
        is_stacked: which of the two.
    """

    names: list[str]
    owners: list[list[torch.Tensor]]
    weights: list[torch.Tensor] = field(default_factory=list)
    is_stacked: bool = False

    def backward(self, loss: torch.Tensor) -> None:
        """Sets the parameters' gradients."""
        found = [  # the fused Adam takes gradients to lie as weights do
            None if gradient is None else gradient.contiguous()
            for gradient in torch.autograd.grad(loss, self.weights, allow_unused=True)
        ]
        for k, owned in enumerate(self.owners):
            for own, gradient in zip(owned, found, strict=True):
                own.grad = gradient[k] if self.is_stacked and gradient is not None else gradient

    def add(self, extra: torch.Tensor) -> None:
        """Adds the gradients of another loss."""
        if not extra.requires_grad:
            return
        found = torch.autograd.grad(extra, self.weights, allow_unused=True)
        for k, owned in enumerate(self.owners):
            for own, gradient in zip(owned, found, strict=True):
                if gradient is not None:
                    more = (gradient[k] if self.is_stacked else gradient).contiguous()
                    own.grad = more if own.grad is None else own.grad + more


class UpdateMixin:
    """A learner of one module with the update described above; `losses` says what it learns.

    Attributes:
        workspace: what layers of networks by zones are evaluated in.
    """

    workspace: Workspace

    def losses(self, module: Any, batch: Batch) -> Losses:
        """Of one gradient step."""
        raise NotImplementedError

    def straight(self, module: Any) -> Callable[[Batch], Losses] | None:
        """What takes the place of `losses` and sets gradients too, if there is such for the module's networks."""
        return None

    def readers(self, module: Any, batch: Batch) -> Mapping[str, tuple[Any, Sequence[str]]]:
        """Name -> a network's body, and the columns that it reads: what it makes of them before any weight counts is
        prepared once an update, for all its steps (`read_by`)."""
        return {}

    def stacked(self, module: Any) -> tuple[Any, Sequence[str]] | None:
        """The `policies.networks.stacked.Stacked` whose networks some optimisers hold, and the names of those."""
        return None

    def register_optimizer(self, *, optimizer: torch.optim.Optimizer, **kwargs: Any) -> None:
        for group in optimizer.param_groups:
            group["fused"], group["foreach"] = True, False  # all weights in one call
        super().register_optimizer(optimizer=optimizer, **kwargs)  # type: ignore[misc]

    def update(
        self,
        batch: Any = None,
        training_data: Any = None,
        *,
        timesteps: Mapping[str, Any] | None = None,
        num_epochs: int = 1,
        minibatch_size: int | None = None,
        shuffle_batch_per_epoch: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """RLlib's `Learner.update`, of a batch of this learner's one module."""
        timesteps = dict(timesteps or {})
        if batch is None:
            training_data.solve_refs()
            batch = training_data.batch
        (columns,) = batch.policy_batches.values()
        self.begin(timesteps)
        return self.finish(timesteps, self.descend(columns, num_epochs, minibatch_size, shuffle_batch_per_epoch))

    # An update in three parts: the second may be made by a twin in another process (`policies.learners.apart`).
    def begin(self, timesteps: dict[str, Any]) -> None:
        """What comes before gradient steps."""
        self.before_gradient_based_update(timesteps=timesteps)  # type: ignore[attr-defined]
        if timesteps.get(RESTS):  # until the update's end, which sets the rates of schedules
            for name, optimizer in self._named_optimizers.items():  # type: ignore[attr-defined]
                if name.endswith(f"_{POLICY}"):
                    self._set_optimizer_lr(optimizer, lr=0.0)  # type: ignore[attr-defined]

    def descend(
        self,
        columns: Mapping[str, np.ndarray],
        num_epochs: int = 1,
        minibatch_size: int | None = None,
        shuffle_batch_per_epoch: bool = False,
    ) -> Measured:
        """The gradient steps."""
        (tier,) = self.module.keys()  # type: ignore[attr-defined]
        device = self._device  # type: ignore[attr-defined]
        tensors = {name: torch.as_tensor(np.asarray(column), device=device) for name, column in columns.items()}
        size = len(next(iter(tensors.values())))
        tensors |= self._prepared(self.readers(self.module[tier].unwrapped(), tensors), tensors)  # type: ignore[attr-defined]
        minibatches = self._minibatches(size, minibatch_size or size, num_epochs, shuffle_batch_per_epoch)
        return self._descend(tier, (Rows(tensors, rows) for rows in minibatches))

    def finish(self, timesteps: dict[str, Any], measured: Measured) -> dict[str, Any]:
        """What comes after gradient steps: results, as RLlib's `Learner.update` returns them."""
        self._weights_seq_no += 1  # type: ignore[attr-defined]
        self._log(measured)
        self.after_gradient_based_update(timesteps=timesteps)  # type: ignore[attr-defined]
        return self.metrics.reduce()  # type: ignore[attr-defined]

    def _prepared(self, readers: Mapping[str, tuple[Any, Sequence[str]]], batch: Batch) -> dict[str, Any]:
        """By reader; those that read alike share it."""
        found: dict[str, Any] = {}
        made: list[tuple[Any, Sequence[str], Any]] = []
        for name, (body, columns) in readers.items():
            inner = body.body if body.has_action_value else body  # which reads all but the own action
            if not (hasattr(inner, "prepare") and (body.has_action_value or not body.reads_actions)):
                continue
            found[name] = next((p for other, of, p in made if of == columns and read_alike(inner, other)), None)
            if found[name] is None:
                is_fit = fits(inner) and isinstance(inner, ZoneMLP) and not inner.attends
                prepare = functools.partial(reading.prepare, inner) if is_fit else inner.prepare
                found[name] = prepare(*(batch[column] for column in columns))
                if is_fit:
                    found[name].workspace = self.workspace
                made.append((inner, columns, found[name]))
        return found

    def _minibatches(self, size: int, part: int, num_epochs: int, is_shuffled: bool) -> Iterator[Any]:
        """Rows of each gradient step. Where parts do not divide the rows, one goes on in the next epoch, and the last
        in one more, as RLlib's do."""
        if num_epochs == 1 and size % part == 0 and not self.distributed:  # type: ignore[attr-defined]
            yield from (slice(start, start + part) for start in range(0, size, part))
            return
        steps = -(-size * num_epochs // part)
        if self.distributed:  # type: ignore[attr-defined]  # shares of a batch may differ by a row, steps may not
            least = torch.tensor(steps, device=self._device)  # type: ignore[attr-defined]
            torch.distributed.all_reduce(least, op=torch.distributed.ReduceOp.MIN)
            steps = int(least)
        order = [torch.arange(size)]
        while len(order) * size < steps * part:
            order.append(self._shuffled(size) if is_shuffled else order[0])
        rows = torch.cat(order)
        yield from (rows[start : start + part] for start in range(0, steps * part, part))

    def _shuffled(self, size: int) -> torch.Tensor:
        generator = self.generator  # type: ignore[attr-defined]
        return torch.randperm(size, generator=generator, device=generator.device)

    def _descend(self, tier: str, batches: Iterable[Batch]) -> Measured:
        module, config = self.module[tier].unwrapped(), self.config  # type: ignore[attr-defined]
        descents = {name: Descent(one) for name, one in self.get_optimizers_for_module(tier)}  # type: ignore[attr-defined]
        parts = self._differentiated(module, descents)
        pairs = self._targets(module, config)
        td_errors, norms, rows, steps = [], {}, 0, 0
        losses_of = self.straight(module) or functools.partial(self.losses, module)
        for batch in batches:
            found, terms = losses_of(batch), terms_of(module, batch)
            for part in parts:
                more = [t for term in terms.values() for name, t in term.items() if _is_of(name, part, parts)]
                if not callable(found.by_optimizer):
                    own = [found.by_optimizer[name] for name in part.names if name in found.by_optimizer]
                    part.backward(sum(own + more))  # type: ignore[arg-type]
                elif more:
                    part.add(sum(more))  # type: ignore[arg-type]
            self._share_gradients(descents.values())
            for name, descent in descents.items():
                if config.grad_clip:
                    norms[name] = descent.clip(config.grad_clip, config.grad_clip_by)
                descent.step()
            if pairs is not None:
                torch._foreach_lerp_(*pairs, config.tau)
            if found.td_error is not None:
                td_errors.append(found.td_error)
            rows, steps = rows + len(next(iter(batch.values()))), steps + 1
        for descent in descents.values():
            descent.finish()
        errors = torch.cat(td_errors).numpy(force=True) if td_errors else None
        return Measured(_values(found, terms, norms), errors, rows, steps)

    def _differentiated(self, module: Any, descents: Mapping[str, Descent]) -> list[Differentiated]:
        parts, rest = [], dict(descents)
        if (of_stack := self.stacked(module)) is not None:
            stack, names = of_stack
            stack.link()
            names = [name for name in names if name in rest]
            parts.append(Differentiated(names, stack.owners, stack.weights, is_stacked=True))
            for name in names:
                del rest[name]
        return parts + [Differentiated([name], [one.parameters], one.parameters) for name, one in rest.items()]

    def _targets(self, module: Any, config: Any) -> tuple[list[torch.Tensor], list[torch.Tensor]] | None:
        """(target, main) weights, where targets follow after each step."""
        if not isinstance(module, TargetNetworkAPI) or config.target_network_update_freq > 0:
            return None
        pairs = module.get_target_network_pairs()
        return [t.data for _, n in pairs for t in n.parameters()], [m.data for n, _ in pairs for m in n.parameters()]

    def _share_gradients(self, descents: Iterable[Descent]) -> None:
        """The mean over several remote learners, each of which has its own rows."""
        if not self.distributed:  # type: ignore[attr-defined]
            return
        found = [p.grad for descent in descents for p in descent.parameters if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in found])
        torch.distributed.all_reduce(flat)
        flat /= torch.distributed.get_world_size()
        for gradient, mean in zip(found, flat.split([g.numel() for g in found]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def _log(self, measured: Measured) -> None:
        (tier,) = self.module.keys()  # type: ignore[attr-defined]
        metrics, rows = self.metrics, measured.rows  # type: ignore[attr-defined]
        for name, value in measured.values.items():
            metrics.log_value((tier, name), value, window=1)
        if measured.td_error is not None:  # one item: RLlib takes a tensor's entries for one each
            metrics.log_value((tier, keys.TD_ERROR_KEY), measured.td_error, reduce="item_series")
        metrics.log_value((tier, keys.WEIGHTS_SEQ_NO), self._weights_seq_no, window=1)  # type: ignore[attr-defined]
        metrics.log_value((tier, keys.MODULE_TRAIN_BATCH_SIZE_MEAN), rows / measured.steps, reduce="mean")
        for of, name in (
            (tier, keys.NUM_MODULE_STEPS_TRAINED),
            (keys.ALL_MODULES, keys.NUM_MODULE_STEPS_TRAINED),
            (keys.ALL_MODULES, keys.NUM_ENV_STEPS_TRAINED),
        ):
            is_all = of == keys.ALL_MODULES
            metrics.log_value((of, name), rows, reduce="sum", with_throughput=is_all)
            metrics.log_value((of, f"{name}_lifetime"), rows, reduce="lifetime_sum", with_throughput=True)


def _values(found: Losses, terms: Mapping[str, Any], norms: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    of_terms = {name: sum(t.detach() for t in term.values()) for name, term in terms.items()}
    values = {**found.logs(), **{f"{name}_loss": value for name, value in of_terms.items()}}
    values |= {f"gradients_{name}_global_norm": norm for name, norm in norms.items() if norm is not None}
    values[Learner.TOTAL_LOSS_KEY] = found.total + sum(of_terms.values())
    return {name: value.detach() for name, value in values.items()}


class Rows(Mapping[str, Any]):
    """Some rows of all columns, each taken when it is first read, of those of several names once."""

    def __init__(self, whole: Batch, rows: Any):
        self.whole, self.rows = whole, rows
        self.taken: dict[int, Any] = {}

    def __getitem__(self, name: str) -> Any:
        column = self.whole[name]
        found = self.taken.get(id(column))
        if found is None:
            found = self.taken[id(column)] = column[self.rows]
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.whole)

    def __len__(self) -> int:
        return len(self.whole)


def read_by(batch: Batch, name: str, *columns: str) -> tuple[Any, ...]:
    """What the reader of that name (`UpdateMixin.readers`) is given: what was prepared for it, or the columns."""
    return (batch[name],) if name in batch else tuple(batch[column] for column in columns)


def _is_of(name: str, part: Differentiated, parts: Sequence[Differentiated]) -> bool:
    """Whether a term for the optimiser of that name is differentiated there: a lone optimiser takes them all."""
    return name in part.names or len(parts) == 1
