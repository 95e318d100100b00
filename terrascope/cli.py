"""The command line: arguments in, library calls and flows, exit codes out.

Exit codes: 0 done; 1 failed; 2 the command, the monitor file or a profile is wrong and
nothing was written; 3 finished below `minimum_completeness`; 130 interrupted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from terrascope import __version__
from terrascope.errors import ConfigError, IncompleteError, TerrascopeError

__all__ = ["app", "main"]

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INCOMPLETE = 3
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="terrascope",
    help="Watch large areas of the Earth change, with Sentinel-1 and Sentinel-2.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich would double the time of --help
)

MonitorFile = Annotated[Path, typer.Argument(help="The monitor file (TOML).", metavar="FILE.toml")]
data_app = typer.Typer(help="Training data.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data_app, name="data")

DaskAddress = Annotated[
    str | None,
    typer.Option(
        "--dask", help="Scheduler of a running Dask cluster, tcp://HOST:PORT.", metavar="URL"
    ),
]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"terrascope {__version__}")
        raise typer.Exit


@app.command()
def monitor(file: MonitorFile, dask: DaskAddress = None) -> None:
    """Run a monitor file from search to report; run it again to go on after a stop."""
    _quiet_environment()
    from terrascope.progress import shown
    from terrascope.watch import MonitorRun

    MonitorRun.open(file)  # a wrong file is said before anything is started
    with shown():
        report = _run_flow(file, dask)
    typer.echo(_outcome(Path(report)))
    typer.echo(f"report: {report}")


@app.command()
def backfill(
    file: MonitorFile,
    first: Annotated[str, typer.Option("--from", help="First day.", metavar="YYYY-MM-DD")],
    last: Annotated[str, typer.Option("--to", help="Last day.", metavar="YYYY-MM-DD")],
    order: Annotated[
        str, typer.Option(help="Computed first: oldest, newest, or shuffled.")
    ] = "oldest",
    dask: DaskAddress = None,
) -> None:
    """Run a monitor file for every period of a range of dates; run it again to go on."""
    _quiet_environment()
    from terrascope.backfill import Backfill
    from terrascope.progress import shown

    job = Backfill.open(file, first, last)
    job.ordered(order)  # a wrong word is said before anything is started
    with shown():
        from flows.backfill import backfill as flow

        report = _call_flow(lambda: flow(str(file), first, last, order, dask))
    if not job.folded:
        typer.echo(f"periods: {len(job.targets)}, in {Path(report).parent / 'periods'}")
    typer.echo(f"report: {report}")


@app.command()
def plan(file: MonitorFile) -> None:
    """Say what a monitor file would read and write. Searches the catalog, reads no pixel."""
    from terrascope.watch import MonitorRun

    run = MonitorRun.open(file)
    for line in run.explain():
        typer.echo(line)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for the archive and the result.")] = Path(
        "out/demo"
    ),
    dask: DaskAddress = None,
    seed: Annotated[int, typer.Option(help="Of the simulated land.")] = 7,
    model: Annotated[
        str, typer.Option(help="Folder of a model, or NAME@promoted; none: the screen alone.")
    ] = "nano@promoted",
) -> None:
    """Simulate two years of scenes, monitor them, and score the result against the truth."""
    _quiet_environment()
    from terrascope.catalog.serve import serve_catalog
    from terrascope.demo import score_demo, write_demo_archive
    from terrascope.progress import report_progress, shown
    from terrascope.registry import find_model

    chosen = None if model == "none" else find_model(model)  # refused before anything is made
    with shown():
        archive = write_demo_archive(
            output / "archive",
            seed=seed,
            progress=lambda done, total: report_progress("simulate", done, total),
        )
        with serve_catalog(archive.directory) as server:
            file = archive.write_monitor_file(
                url=server.url,
                output=output / "result",
                model=None if chosen is None else model if "@" in model else chosen.folder,
            )
            report = _run_flow(file, dask)
    typer.echo(str(score_demo(output / "result", archive)))
    typer.echo(f"report: {report}")


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="Output folder of a run.", metavar="OUT")],
    destination: Annotated[
        str,
        typer.Argument(
            help="A folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX.",
            metavar="DESTINATION",
        ),
    ],
    workers: Annotated[int, typer.Option(help="Files on their way at a time.", min=1)] = 4,
) -> None:
    """Copy maps, events, report and STAC items elsewhere, verified; run again to go on."""
    from terrascope.products.export import export_products
    from terrascope.progress import report_progress, shown

    with shown():
        result = export_products(
            out,
            destination,
            workers=workers,
            progress=lambda done, total: report_progress("export", done, total),
        )
    typer.echo(str(result))


@app.command()
def ask(
    out: Annotated[Path, typer.Argument(help="Output folder of a run.", metavar="OUT")],
    question: Annotated[str, typer.Argument(help="For instance: How much forest was lost?")],
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Print tiles, masks, events and scenes, too.")
    ] = False,
) -> None:
    """Answer a question about the region, from what a run stored. Nothing is written."""
    from terrascope.products.answers import answer_lines, ask_output

    for row in ask_output(out, question):
        for line in answer_lines(row, evidence=evidence):
            typer.echo(line)


@app.command("serve-catalog")
def serve(
    directory: Annotated[Path, typer.Argument(help="Folder of a static STAC catalog.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.")] = 8086,
) -> None:
    """Serve a static STAC catalog as a STAC API until interrupted."""
    from terrascope.catalog.serve import serve_until_stopped

    serve_until_stopped(
        directory,
        host=host,
        port=port,
        on_start=lambda server: typer.echo(
            f"serving {server.items} items of {directory} at {server.url} (Ctrl-C stops)"
        ),
    )


@data_app.command("build")
def build_data(
    out: Annotated[Path, typer.Option(help="Folder of the tables; run again to go on.")],
    images: Annotated[int, typer.Option(help="Image sets.", min=1)] = 1000,
    seed: Annotated[int, typer.Option(help="Of the first image set.", min=0)] = 0,
    samples: Annotated[int, typer.Option(help="Questions per image set.", min=4)] = 6,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "train",
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 2,
    bands: Annotated[bool, typer.Option("--bands", help="Store pixels, not only seeds.")] = False,
) -> None:
    """Write Terra-CoT samples of simulated scenes, as two Parquet tables in shards."""
    from terrascope.data.build import BuildSettings, build_tables
    from terrascope.progress import report_progress, shown

    if split not in ("train", "validation", "test"):
        raise ConfigError(f"split {split!r}: expected train, validation or test")
    settings = BuildSettings(images, seed, samples=samples, split=split, bands=bands)
    with shown():
        built = build_tables(
            out,
            settings,
            workers=workers,
            progress=lambda done, total: report_progress("build", done, total),
        )
    typer.echo(str(built))


@app.command()
def bench(
    model: Annotated[
        Path | None, typer.Option(help="Folder of a model; the packaged one without it.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for results and pictures.")] = Path("out/bench"),
    items: Annotated[int, typer.Option(help="Questions of the main split.", min=6)] = 1200,
    fit: Annotated[
        int,
        typer.Option(help="Validation questions to calibrate the model on, and save it.", min=0),
    ] = 0,
    baselines: Annotated[bool, typer.Option(help="Train and examine baselines, too.")] = True,
    real: Annotated[
        Path | None, typer.Option(help="Folder of the shared real data, to be scored on it.")
    ] = None,
) -> None:
    """Examine a model: TerraScope-Bench, what each part is worth, calibration, baselines."""
    from terrascope.evaluation.bench import BenchSettings
    from terrascope.evaluation.command import bench_model
    from terrascope.progress import report_progress, shown

    settings = BenchSettings.of(items, baselines=baselines)
    with shown():
        bench_model(model, out, settings, fit_items=fit, real=real, progress=report_progress)
    typer.echo((out / "results.md").read_text(encoding="utf-8"))
    typer.echo(f"results: {out / 'results.md'}")


@app.command("fit-fusion")
def fit_fusion_of(
    model: Annotated[
        Path | None, typer.Option(help="Folder of a model; the packaged one without it.")
    ] = None,
    windows: Annotated[int, typer.Option(help="Simulated windows to fit on.", min=6)] = 45,
    seed: Annotated[int, typer.Option(help="Of the first window.", min=0)] = 2_000_000,
) -> None:
    """Fit on simulated scenes how a model is fused with the screen; saved beside its weights."""
    from terrascope.evaluation.fusion import fuse_model
    from terrascope.progress import report_progress, shown

    with shown():
        lines = fuse_model(
            model,
            windows=windows,
            seed=seed,
            progress=lambda done, total: report_progress("fusion", done, total),
        )
    for line in lines:
        typer.echo(line)


@app.command()
def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="A recipe (TOML), or the name of a packaged one: nano, nano-long, smoke..."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the model.")] = Path("out/train"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    start: Annotated[
        str, typer.Option("--from", help="Model to fine-tune: nano, or a folder.")
    ] = "nano",
    labels: Annotated[
        Path | None,
        typer.Option(help="Fine-tune on this folder: a folder per scene, mask.tif and images."),
    ] = None,
    name: Annotated[
        str, typer.Option("--class", help="What the masks show: a change or a class.")
    ] = "vegetation loss",
    folds: Annotated[int, typer.Option(help="Of the cross-validation; 0 leaves it out.")] = 5,
    block_km: Annotated[float, typer.Option(help="Side of a block that is held out whole.")] = 5.0,
    steps: Annotated[int, typer.Option(help="Of each fine-tuning.", min=1)] = 1200,
) -> None:
    """Train a model by a recipe, or fine-tune one on your own masks."""
    from terrascope.progress import report_progress, shown
    from terrascope.train.command import outcome_lines, score_table, train_folder, tune_folder

    if (recipe is None) == (labels is None):
        raise ConfigError("name a recipe, or --labels to fine-tune: one of the two")
    with shown():
        if recipe is not None:
            train_folder(recipe, out, resume=resume)
            typer.echo(score_table(out))
            typer.echo(f"model: {out}")
            return
        from terrascope.data.adapters.labelled import scenes_of
        from terrascope.readers.labelled import read_labelled

        scenes, centres_m = scenes_of(read_labelled(labels or Path()), name)
        outcome = tune_folder(
            start,
            scenes,
            centres_m,
            out,
            name=name,
            folds=folds,
            block_m=block_km * 1000,
            steps=steps,
            progress=report_progress,
        )
    for line in outcome_lines(outcome):
        typer.echo(line)


@data_app.command("priors")
def gather_data_priors(
    out: Annotated[Path, typer.Option(help="File to write; the package's is data/priors.json.")],
    scenes: Annotated[int, typer.Option(help="Simulated labels to look through.", min=1)] = 800,
    seed: Annotated[int, typer.Option(help="Of the first one.", min=0)] = 10_000_000,
) -> None:
    """Gather what is true of simulated scenes: wrong options are drawn from it."""
    from terrascope.data.gather import gather_priors, label_only_scenes
    from terrascope.progress import report_progress, shown

    def told() -> Iterator[Any]:
        for number, scene in enumerate(label_only_scenes(scenes, seed=seed)):
            report_progress("scenes", number, scenes)
            yield scene

    with shown():
        gather_priors(told()).save(out)
    typer.echo(f"priors: {out}")


def main() -> None:
    """Run the command line and turn errors into one clear line and an exit code."""
    try:
        app()
    except SystemExit as end:  # every end that typer knows; it has printed usage errors itself
        if end.code == EXIT_INTERRUPTED:
            _complain("interrupted; what was committed is kept, run the same command to go on")
        raise
    except TerrascopeError as error:
        _complain(str(error))
        sys.exit(_exit_code(error))


def _exit_code(error: TerrascopeError) -> int:
    if isinstance(error, ConfigError):
        return EXIT_USAGE
    return EXIT_INCOMPLETE if isinstance(error, IncompleteError) else EXIT_FAILED


def _outcome(report: Path) -> str:
    """Say in a line or two what a run found, from what it published."""
    import json

    from terrascope.types import Status

    said = json.loads(report.with_name("report.json").read_text(encoding="utf-8"))
    changed = {Status.PROVISIONAL.name.lower(), Status.CONFIRMED.name.lower()}
    area = sum(total["area_m2"] for total in said["totals"] if total["status"] in changed)
    found = f"change: {area / 1e4:,.1f} ha in {said['events']['count']:,} events"
    lines = [f"{found}; observed: {said['observed_share']:.1%} of the ground"]
    unused = [use["collection"] for use in said["sensors"] if not use["used"]]
    if unused:
        lines.append(
            f"no scene of {', '.join(unused)}: check the area (west, south, east, north), the "
            "periods and the catalog"
        )
    return "\n".join(lines)


def _run_flow(file: Path, dask: str | None) -> str:
    from flows.monitor import monitor as flow

    return _call_flow(lambda: flow(str(file), dask=dask))


def _call_flow(flow: Callable[[], str]) -> str:
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_not_ours)
    with _quiet_interrupt():
        _start_local_api()
        return flow()


@contextlib.contextmanager
def _quiet_interrupt() -> Iterator[None]:
    """Let Ctrl-C end in one line: what is torn down then has nothing to add."""

    def interrupt(*_: object) -> None:
        logging.disable(logging.CRITICAL)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start_local_api() -> None:
    """Start Prefect's local API, unless another is configured, where Ctrl-C does not reach it.

    A terminal interrupts all processes of the command. Without its API the flow would try for
    minutes to report that it was interrupted. A process inherits the signal mask of the thread
    that starts it.
    """
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_API_URL

    def start() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        with contextlib.suppress(RuntimeError):  # the flow tries again, and says what is wrong
            SubprocessASGIServer().start()

    if not PREFECT_API_URL.value():
        starter = threading.Thread(target=start, daemon=True)
        starter.start()
        starter.join()


def _is_not_ours(record: logging.LogRecord) -> bool:
    """Keep the tracebacks of our own errors off the terminal: they end in one clear line."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, TerrascopeError)


def _complain(message: str) -> None:
    typer.echo(f"terrascope: {message}", err=True)


def _quiet_environment() -> None:
    """Keep Prefect from calling home, and both it and Dask from chatting, unless told otherwise."""
    for name, value in {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
        "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "warning",
        # Its own limit is met on an idle machine; beside other work the API takes longer to start.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }.items():
        os.environ.setdefault(name, value)
