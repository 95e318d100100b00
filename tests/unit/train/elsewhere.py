"""A stand-in for a GPU: tensors that say they are elsewhere, and refuse to meet the processor's.

They hold an ordinary tensor and compute with it, under the name of torch's "meta" device. What
is tested with them is where things are, which no processor can tell: a batch that was not moved,
an index made on the wrong side.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
_BETWEEN = ("copy", "index")
"""Operations that a GPU allows between devices, as parts of their names."""


class Elsewhere(Tensor):
    """A tensor on the device that is played; `inner` is what it holds."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Self:
        made: Self = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, _types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(function, args, kwargs or {})

    def tolist(self) -> Any:
        return self.inner.tolist()


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    leaves = tree_leaves((args, kwargs))
    far = [leaf for leaf in leaves if isinstance(leaf, Elsewhere)]
    near = [leaf for leaf in leaves if isinstance(leaf, Tensor) and not isinstance(leaf, Elsewhere)]
    name = str(function.overloadpacket)
    wanted = kwargs.get("device")
    wanted = None if wanted is None else torch.device(wanted)
    between = any(part in name for part in _BETWEEN)
    if far and any(one.dim() for one in near) and not between:
        raise RuntimeError(f"{function}: tensors of two devices")
    if wanted == DEVICE:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    inner = tree_map(lambda one: one.inner if isinstance(one, Elsewhere) else one, (args, kwargs))
    out = function(*inner[0], **inner[1])
    leaves_it = wanted is not None and wanted != DEVICE
    stays = isinstance(args[0], Elsewhere) if name.endswith("copy_") else bool(far)
    if name.endswith("_local_scalar_dense") or not (wanted == DEVICE or (stays and not leaves_it)):
        return out
    known = {id(one.inner): one for one in far}

    def there(one: Any) -> Any:
        plain = isinstance(one, Tensor) and not isinstance(one, Elsewhere)
        return known.get(id(one), Elsewhere(one)) if plain else one

    return tree_map(there, out)


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(
        self, function: Any, _types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        wanted = kwargs.get("device")
        made_there = wanted is not None and torch.device(wanted) == DEVICE
        if made_there or any(isinstance(one, Elsewhere) for one in tree_leaves((args, kwargs))):
            return _run(function, args, kwargs)
        return function(*args, **kwargs)


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """Play the device while the block runs."""
    made = torch.tensor, torch.as_tensor
    swapped = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    torch.tensor, torch.as_tensor = (_moved(one) for one in made)
    try:
        with _Mode():
            yield
    finally:
        torch.tensor, torch.as_tensor = made
        torch.__future__.set_swap_module_params_on_conversion(swapped)


def _moved(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make on the processor, then move: torch fills these two without asking the mode."""

    def there(data: Any, *, device: Any = None, **settings: Any) -> Tensor:
        out = make(data, **settings)
        return out if device is None else out.to(device)

    return there
