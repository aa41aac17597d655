"""Bytes that a computation would hold, found by running its own code on tensors that have a shape and no memory.

torch's fake tensors compute shapes, precisions and what autograd keeps for the backward pass, operation by operation, as on the
device that they say they are on; a mode around them adds up the storages that are alive. Memory inside a kernel is not seen.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.models.architecture import empty_model, read_config
from harness.models.source import ModelSource

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_aten = torch.ops.aten
WEIGHTS, COPIES, GRADIENTS, OPTIMIZER = "weights", "copies", "gradients", "optimizer"
LOGITS, ACTIVATIONS = "logits", "activations"


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that are alive, by what they are, and keeps the sums of the fullest moment."""

    def __init__(self, targets: int = 0, head: tuple[int, int] = (0, 0)) -> None:
        """Begin with nothing.

        Args:
            targets: Rows that a search for target tokens finds: no data tells how many there are.
            head: Rows and columns of the output head, by which logits and their gradients are known.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._targets, self._head = targets, head
        self._held: dict[int, tuple[str, int]] = {}
        self.now: Counter[str] = Counter()
        """Kind -> bytes that are alive."""
        self.peak: dict[str, int] = {}
        """`now` at the fullest moment since `forget_peak`."""
        self._now = self._peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, or answer in its place where the answer would depend on data."""
        if func in (_aten.equal.default, _aten.allclose.default):
            return True
        if func is _aten._local_scalar_dense.default:
            return 1
        if func is _aten.nonzero.default:
            out = torch.empty(self._targets, args[0].dim(), dtype=torch.long, device=args[0].device)
        else:
            out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._add(tensor, self._kind(func, args, tensor))
        return out

    def _kind(self, func: Any, args: Any, made: Tensor) -> str:
        if func is _aten._to_copy.default and isinstance(args[0], nn.Parameter):
            return COPIES
        if self._head == (0, 0):
            return ACTIVATIONS
        if made.dim() == 2 and made.shape[1] == self._head[0]:
            return LOGITS
        return GRADIENTS if tuple(made.shape) == self._head else ACTIVATIONS

    def _add(self, tensor: Tensor, kind: str) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._held:
            return
        size = 0 if tensor.device.type == "meta" else storage.nbytes()
        self._held[key] = (kind, size)
        self.now[kind] += size
        self._now += size
        weakref.finalize(storage, self._drop, key)
        if self._now > self._peak:
            self._peak, self.peak = self._now, dict(self.now)

    def _drop(self, key: int) -> None:
        kind, size = self._held.pop(key)
        self.now[kind] -= size
        self._now -= size

    def label(self, tensor: Tensor, kind: str) -> None:
        """Say what a tensor that is alive is."""
        key = tensor.untyped_storage()._cdata
        if key not in self._held:
            return
        before, size = self._held[key]
        self._held[key] = (kind, size)
        self.now[before] -= size
        self.now[kind] += size

    def forget_head(self) -> None:
        """Take what has the shape of the head for nothing special from now on."""
        self._head = (0, 0)

    def forget_peak(self) -> None:
        """Look for the fullest moment from now on."""
        self._peak, self.peak = self._now, dict(self.now)


class Weightless(ModelSource):
    """A model on this machine that is built without its weights: with shapes, on torch's ``meta`` device."""

    def model(self, *, dtype: str = "float32", **_: Any) -> PreTrainedModel:
        """The model as `ModelSource.model` gives it, for any size at once."""
        config = read_config(self.folder, what=self.name)
        made: PreTrainedModel = empty_model(config, what=self.name).eval()
        stored = str(config.dtype or "float32").removeprefix("torch.")
        made.to(getattr(torch, stored if dtype == "auto" else dtype))
        return made


def weightless(source: ModelSource) -> Weightless:
    """The same model without its weights."""
    return Weightless(name=source.name, role=source.role, folder=source.folder, revision=source.revision)


@contextmanager
def counting(device: torch.device, targets: int, head: tuple[int, int]) -> Iterator[LiveBytes]:
    """A block in which tensors have no memory, new ones are on ``device``, and what they would hold is counted.

    Args:
        device: As it will be in earnest: kernels, and what they keep, differ between devices.
        targets: See `LiveBytes`, as for ``head``.
        head: Likewise.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True), LiveBytes(targets, head) as live, device:
        yield live


def put(model: nn.Module, device: torch.device, live: LiveBytes) -> None:
    """Move a model from ``meta`` to a device within `counting`; weights that several modules share stay one.

    `nn.Module.to` cannot: it swaps tensors, which torch does not allow fake ones.
    """
    made: dict[int, tuple[Tensor, Tensor]] = {}  # with the old ones, or their ids would be given again

    def moved(tensor: Tensor) -> Tensor:
        if id(tensor) not in made:
            new = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
            live.label(new, WEIGHTS)
            own = nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new
            made[id(tensor)] = (tensor, own)
        return made[id(tensor)][1]

    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is not None:
                    held[name] = moved(tensor)  # type: ignore[assignment]


def blank(inputs: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Tensors of the same shapes and precisions within `counting`."""
    return {
        name: torch.zeros(tensor.shape, dtype=tensor.dtype, device=device) for name, tensor in inputs.items()
    }
