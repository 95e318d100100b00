"""What a file beside a model remembers its weights by."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["weights_digest"]


def weights_digest(folder: str | Path) -> str:
    """Return a short name of a model's weights.

    Parameters
    ----------
    folder : str or Path
        Of the model.

    Returns
    -------
    digest : str
        16 characters of a SHA-256 over all its ``.safetensors`` files, in order of their names.
    """
    total = hashlib.sha256()
    for path in sorted(Path(folder).glob("*.safetensors")):
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:16]
