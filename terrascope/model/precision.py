"""Which precision to compute in, device by device.

The weights keep theirs; `inference_precision` (answers) and `computing` (training) decide how
float32 weights are multiplied. Whatever is summed over pixels or tokens (losses, probabilities,
areas) is float32 in the code that sums it. ``generate(..., precision="auto")`` is the switch for
answers; around anything else, such as `TerrascopeModel.encode`, use the context::

    with torch.inference_mode(), inference_precision(model.device, "auto"):
        encoded = model.encode(windows)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

__all__ = ["PRECISIONS", "computing", "inference_precision", "resolve_precision"]

PRECISIONS = ("auto", "float32", "bfloat16")


def resolve_precision(device: torch.device, precision: str = "auto") -> torch.dtype:
    """Decide the precision of matrix products and convolutions.

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
    return torch.bfloat16 if device.type == "cpu" and _has_tiles() else torch.float32


def _has_tiles() -> bool:
    """Say whether the processor has AMX tiles, and this build uses them."""
    return torch.backends.cpu.get_cpu_capability().startswith("AVX512") and bool(
        torch.cpu._is_amx_tile_supported()  # noqa: SLF001 -- there is no public name for it
    )


@contextlib.contextmanager
def inference_precision(device: torch.device, precision: str = "auto") -> Iterator[torch.dtype]:
    """Encode and generate in a precision; what was set before comes back afterwards.

    Parameters
    ----------
    device : torch.device
        Where the model runs.
    precision : str
        As in `resolve_precision`.

    Yields
    ------
    dtype : torch.dtype
        What was decided.

    Notes
    -----
    On a processor with AMX tiles oneDNN multiplies float32 operands as bfloat16 and sums in
    float32: features and the residual stream stay float32, and nothing is cast between layers.
    That setting is one for the whole process, all threads of it. Elsewhere bfloat16 is autocast:
    without tiles oneDNN goes on multiplying in float32. On such a processor that is faster for
    images and long prompts and slower token by token, hence not ``"auto"``.
    """
    dtype = resolve_precision(device, precision)
    short = dtype is torch.bfloat16
    tiles = device.type == "cpu" and _has_tiles()
    onednn: Any = torch.backends.mkldnn
    kinds = onednn.matmul, onednn.conv
    before = [kind.fp32_precision for kind in kinds]
    try:
        for kind in kinds if device.type == "cpu" else ():
            kind.fp32_precision = "bf16" if short and tiles else "ieee"
        with torch.autocast(device.type, torch.bfloat16, enabled=short and not tiles):
            yield dtype
    finally:
        for kind, was in zip(kinds, before, strict=True):
            kind.fp32_precision = was


@contextlib.contextmanager
def computing(device: torch.device, precision: str = "auto") -> Iterator[torch.dtype]:
    """Train in a precision; weights and their gradients stay as they are.

    Parameters
    ----------
    device : torch.device
        Where the model runs.
    precision : str
        As in `resolve_precision`.

    Yields
    ------
    dtype : torch.dtype
        What was decided.

    Notes
    -----
    Autocast on every device: activations kept for the backward pass take half the memory. On a
    processor it pays together with ``model.to(memory_format=torch.channels_last)``.
    """
    dtype = resolve_precision(device, precision)
    with torch.autocast(device.type, torch.bfloat16, enabled=dtype is torch.bfloat16):
        yield dtype
