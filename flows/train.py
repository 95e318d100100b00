"""Train a model: data, training, bench. Prefect around library calls, nothing else.

Curves and tables appear with the run. What a killed run had done is not done again.
"""

from __future__ import annotations

from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_image_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext

from terrascope.evaluation.bench import BenchSettings
from terrascope.evaluation.command import bench_model
from terrascope.train.command import data_table, score_table, train_folder

__all__ = ["train"]


@task(cache_policy=NO_CACHE)
def make_data(recipe: str) -> str:
    """Make a first batch of every stage, and say what is in it: a wrong recipe fails here.

    Parameters
    ----------
    recipe : str
        File or name of the recipe.

    Returns
    -------
    table : str
        Markdown.
    """
    return data_table(recipe)


@task(cache_policy=NO_CACHE, retries=1, retry_delay_seconds=10)
def fit(recipe: str, out: str) -> str:
    """Train, or go on.

    Parameters
    ----------
    recipe : str
        File or name of the recipe.
    out : str
        Folder of the run.

    Returns
    -------
    out : str
        With the model in it.
    """
    return str(train_folder(recipe, Path(out), resume=True))


@task(cache_policy=NO_CACHE)
def bench(out: str, items: int) -> str:
    """Examine the model.

    Parameters
    ----------
    out : str
        Folder of the model.
    items : int
        Questions; 0 leaves the bench out.

    Returns
    -------
    table : str
        Markdown.
    """
    if not items:
        return "left out"
    folder = Path(out) / "bench"
    bench_model(Path(out), folder, BenchSettings.of(items, baselines=False))
    return (folder / "results.md").read_text(encoding="utf-8")


@flow(name="train", validate_parameters=False)
def train(recipe: str, out: str, items: int = 240) -> str:
    """Train one model and examine it.

    Parameters
    ----------
    recipe : str
        File of the recipe, or the name of a packaged one.
    out : str
        Folder for the model.
    items : int
        Questions of the bench; 0 leaves it out.

    Returns
    -------
    out : str
        Folder of the model.
    """
    show("data", make_data(recipe))
    fit(recipe, out)
    show("scores", score_table(Path(out)), picture=Path(out) / "curves.png")
    show("bench", bench(out, items))
    return out


def show(name: str, table: str, picture: Path | None = None) -> None:
    """Put a table, and a picture, beside the run.

    Parameters
    ----------
    name : str
        Of the artifact.
    table : str
        Markdown.
    picture : Path or None
        On this machine.
    """
    if FlowRunContext.get() is None:  # called without Prefect
        return
    create_markdown_artifact(table, key=f"train-{name}")
    if picture is not None:
        create_image_artifact(picture.resolve().as_uri(), key=f"train-{name}-curves")
