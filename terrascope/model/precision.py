"""Which precision to compute in, device by device.

Weights and activations may be of half precision; whatever is summed over pixels or tokens
(losses, probabilities, areas) is float32 in the code that sums it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

__all__ = ["PRECISIONS", "computing", "resolve_precision"]

PRECISIONS = ("auto", "float32", "bfloat16")


def resolve_precision(device: torch.device, precision: str = "auto") -> torch.dtype:
    """Decide the precision of matrix products.

    Parameters
    ----------
    device : torch.device
        Where the model runs.
    precision : str
        One of `PRECISIONS`. ``"auto"`` is bfloat16 where the device multiplies it faster than
        float32 (GPUs from Ampere on, processors with AMX tiles), float32 elsewhere.

    Returns
    -------
    dtype : torch.dtype
        ``torch.float32`` or ``torch.bfloat16``.

    Raises
    ------
    ValueError
        If there is no such precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r}: expected one of {PRECISIONS}")
    if precision != "auto":
        return torch.float32 if precision == "float32" else torch.bfloat16
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return torch.bfloat16 if major >= 8 else torch.float32
    amx = torch.backends.cpu.get_cpu_capability().startswith("AVX512") and (
        torch.cpu._is_amx_tile_supported()  # noqa: SLF001 -- there is no public name for it
    )
    return torch.bfloat16 if device.type == "cpu" and amx else torch.float32


@contextlib.contextmanager
def computing(device: torch.device, precision: str = "auto") -> Iterator[torch.dtype]:
    """Compute in a precision, whatever the precision of the weights.

    Parameters
    ----------
    device : torch.device
        Where the model runs.
    precision : str
        As in `resolve_precision`.

    Yields
    ------
    dtype : torch.dtype
        What was decided. Float32 weights are multiplied in bfloat16 under autocast; with
        float32 nothing is changed.
    """
    dtype = resolve_precision(device, precision)
    with torch.autocast(device.type, dtype, enabled=dtype is torch.bfloat16):
        yield dtype
