"""Models by name: where they lie, what they are, and loading them.

A monitor file names a model by a folder, or as ``NAME@promoted``: the one that came with this
package. What decides a model's answers is hashed, so that a work item knows it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from terrascope.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from terrascope.model.modeling_terrascope import TerrascopeModel
    from terrascope.model.processing_terrascope import TerrascopeProcessor

__all__ = ["ModelReference", "find_model", "load_model"]

_UNLIKE = (".md", ".txt.license", ".png", ".log", ".jsonl")
"""Files beside a model that its answers do not depend on."""


@dataclasses.dataclass(frozen=True)
class ModelReference:
    """A model that was found.

    Parameters
    ----------
    name : str
        As the monitor file names it.
    folder : str
        With weights, configuration, tokenizer and processor settings.
    weights : str
        Hash of everything in it that answers depend on.
    window_px : int
        Rows and columns of the windows that it was made for.
    """

    name: str
    folder: str
    weights: str
    window_px: int


def find_model(name: str, base: Path | None = None) -> ModelReference:
    """Find a model.

    Parameters
    ----------
    name : str
        A folder, absolute or relative to `base`; or ``NAME@promoted``.
    base : pathlib.Path, optional
        Folder of the monitor file; default the current one.

    Returns
    -------
    reference : ModelReference
        Nothing is loaded; its files are read once to be hashed.

    Raises
    ------
    ModelError
        If there is no such model.
    """
    known, _, version = name.partition("@")
    if version and "/" not in name:
        if version != "promoted":
            raise ModelError(f"model {name!r}: expected a folder or NAME@promoted")
        shipped = resources.files("terrascope") / "weights" / known
        folder = Path(str(shipped))
    else:
        folder = (base or Path.cwd()) / name
    settings = folder / "preprocessor_config.json"
    if not (folder / "config.json").is_file() or not settings.is_file():
        raise ModelError(
            f"model {name!r}: no model lies in {folder}; expected config.json, "
            "preprocessor_config.json, a tokenizer and weights; train one with `terrascope train`, "
            "or name another folder"
        )
    side = json.loads(settings.read_text(encoding="utf-8")).get("size_px") or 128
    return ModelReference(name, str(folder.resolve()), _hash(folder), int(side))


def load_model(
    folder: str, *, device: str = "cpu"
) -> tuple[TerrascopeModel, PreTrainedTokenizerBase, TerrascopeProcessor]:
    """Load a model of either size.

    Parameters
    ----------
    folder : str
        From `find_model`.
    device : str
        Where to.

    Returns
    -------
    model : TerrascopeModel
        In evaluation mode; float32 on a processor, the precision of its files elsewhere.
    tokenizer : PreTrainedTokenizerBase
        Its own.
    processor : TerrascopeProcessor
        Its own.

    Raises
    ------
    ModelError
        If the files are no model.
    """
    import torch
    from transformers import AutoTokenizer

    from terrascope.model.modeling_terrascope import TerrascopeModel
    from terrascope.model.processing_terrascope import TerrascopeProcessor
    from terrascope.model.tokenization_nano import NanoTokenizer

    place = Path(folder)
    nano = (place / NanoTokenizer.vocab_files_names["vocab_file"]).is_file()
    try:
        small = json.loads((place / "config.json").read_text(encoding="utf-8"))
        exact = device == "cpu" or small.get("backbone", "nano") == "nano"
        dtype: Any = torch.float32 if exact else "auto"
        model = TerrascopeModel.from_pretrained(folder, dtype=dtype)
        tokenizer: Any = (
            NanoTokenizer.from_pretrained(folder)
            if nano and not (place / "merges.txt").is_file()
            else AutoTokenizer.from_pretrained(folder)
        )
        processor = TerrascopeProcessor.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder}: cannot be loaded ({error})") from error
    model.train(mode=False)
    model.to(device)  # type: ignore[arg-type]
    return model, tokenizer, processor


def _hash(folder: Path) -> str:
    """Hash the files of a model, names included."""
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.name.endswith(_UNLIKE) or path.name.startswith("."):
            continue
        with path.open("rb") as file:
            total.update(
                f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode()
            )
    return total.hexdigest()[:32]
