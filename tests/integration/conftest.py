"""Real servers on loopback: STAC APIs of several characters, PostgreSQL with pgstac."""

from __future__ import annotations

import dataclasses
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import pytest
import shapely

CORE = "https://api.stacspec.org/v1.0.0/core"
SEARCH = "https://api.stacspec.org/v1.0.0/item-search"
FILTER = "https://api.stacspec.org/v1.0.0/item-search#filter"


@dataclasses.dataclass
class FakeStac:
    """A STAC API with manners to choose.

    `place` and `when` tell what it does with intersects/bbox and datetime: "obey" or
    "ignore". `cql`: "obey" (cloud <= x or unknown), "ignore", "nothing", "refuse".
    `intersects`: "as place" or "nothing". `last`: "end", "repeat" (the last page links
    to itself) or "empty" (links to a page without items). `failures`: answers given
    before any other: a status, or "cut" for a body that breaks off.
    """

    items: Sequence[dict[str, Any]]
    collections: Sequence[str] = ("sentinel-2-l2a", "sentinel-1-rtc")
    conformance: Sequence[str] = (CORE, SEARCH, FILTER)
    place: str = "obey"
    when: str = "obey"
    cql: str = "obey"
    intersects: str = "as place"
    last: str = "end"
    failures: list[int | str] = dataclasses.field(default_factory=list)
    retry_after: str | None = None
    requests: list[tuple[str, str, dict[str, Any]]] = dataclasses.field(default_factory=list)
    url: str = ""

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        self.requests.append((method, path, body))
        if path == "/":
            return 200, self.landing()
        if path.startswith("/collections/"):
            known = path.rpartition("/")[2] in self.collections
            return (200, {"type": "Collection"}) if known else (404, {"code": "NotFound"})
        if path != "/search":
            return 404, {"code": "NotFound"}
        if "filter" in body and self.cql == "refuse":
            return 400, {"code": "BadRequest", "description": "no filter here"}
        return 200, self.page(body)

    def landing(self) -> dict[str, Any]:
        links = [
            {"rel": "data", "href": f"{self.url}/collections"},
            {"rel": "search", "href": f"{self.url}/search", "method": "POST"},
        ]
        return {
            "type": "Catalog",
            "id": "fake",
            "stac_version": "1.0.0",
            "description": "x",
            "links": links,
            "conformsTo": list(self.conformance),
        }

    def page(self, body: dict[str, Any]) -> dict[str, Any]:
        found = [item for item in self.items if self.matches(item, body)]
        skip, limit = body.get("skip", 0), body.get("limit", 10)
        features = found[skip : skip + limit]
        links = []
        following = skip + limit
        if following >= len(found) and self.last == "repeat":
            following = skip
        if following < len(found) or (self.last == "empty" and features):
            links = [
                {
                    "rel": "next",
                    "method": "POST",
                    "href": f"{self.url}/search",
                    "body": {**body, "skip": following},
                }
            ]
        return {"type": "FeatureCollection", "features": features, "links": links}

    def matches(self, item: dict[str, Any], body: dict[str, Any]) -> bool:
        properties = item["properties"]
        if "collections" in body and item["collection"] not in body["collections"]:
            return False
        if "filter" in body and self.cql == "nothing":
            return False
        if "filter" in body and self.cql == "obey":
            limit = body["filter"]["args"][0]["args"][1]
            if properties.get("eo:cloud_cover", 0.0) > limit:
                return False
        if "datetime" in body and self.when == "obey":
            start, end = body["datetime"].split("/")
            if not start <= properties["datetime"] <= end:
                return False
        if "intersects" in body and self.intersects == "nothing":
            return False
        if self.place == "obey" and item["geometry"] is not None:
            footprint = shapely.geometry.shape(item["geometry"])
            if "intersects" in body:
                return bool(footprint.intersects(shapely.geometry.shape(body["intersects"])))
            if "bbox" in body:
                return bool(footprint.intersects(shapely.box(*body["bbox"])))
        return True


@dataclasses.dataclass
class Replay:
    """Recorded answers, told in order by (method, path); links lead here."""

    answers: dict[tuple[str, str], list[Any]]
    host: str
    url: str = ""
    requests: list[tuple[str, str, dict[str, Any]]] = dataclasses.field(default_factory=list)
    failures: list[int | str] = dataclasses.field(default_factory=list)
    retry_after: str | None = None

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        self.requests.append((method, path, body))
        told = self.answers.get((method, path), [])
        if not told:
            return 404, {"code": "NotFound"}
        page = told.pop(0) if len(told) > 1 else told[0]
        return 200, json.loads(json.dumps(page).replace(self.host, self.url))


def _handler(stac: FakeStac | Replay) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply("GET", {})

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            self._reply("POST", json.loads(self.rfile.read(length) or b"{}"))

        def _reply(self, method: str, body: dict[str, Any]) -> None:
            path = self.path.partition("?")[0]
            failure = stac.failures.pop(0) if stac.failures and path.endswith("/search") else None
            status, answer = (failure, {}) if isinstance(failure, int) else (None, None)
            if status is None:
                status, answer = stac.answer(method, path, body)
            else:
                stac.requests.append((method, path, body))
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if status == 429 and stac.retry_after is not None:
                self.send_header("Retry-After", stac.retry_after)
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if failure == "cut" else content)
            if failure == "cut":
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def start_stac() -> Iterator[Callable[..., Any]]:
    """Start a `FakeStac` or a `Replay`; it ends with the test."""
    running: list[ThreadingHTTPServer] = []

    def start(stac: FakeStac | Replay | None = None, /, **manners: Any) -> FakeStac | Replay:
        chosen = stac if stac is not None else FakeStac(**manners)
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(chosen))
        server.daemon_threads = True
        chosen.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return chosen

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture
def replay(start_stac: Callable[..., Any]) -> Callable[..., Any]:
    """Replay recorded traffic of one host."""

    def start(host: str, answers: dict[tuple[str, str], list[Any]]) -> Any:
        return start_stac(Replay(answers, host))

    return start


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclasses.dataclass
class Postgres:
    """A private PostgreSQL server with PostGIS."""

    port: int
    tools: Path

    def dsn(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"


def _absent(reason: str) -> NoReturn:
    """Skip on a user's machine; fail in continuous integration, which promises these tests."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _postgres_tools() -> Path:
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    _absent("PostgreSQL is not installed (apt: postgresql-15 postgresql-15-postgis-3)")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Start PostgreSQL on a private port; skip where it is not installed."""
    tools = _postgres_tools()
    if not list(Path("/usr/share/postgresql").glob("*/extension/postgis.control")):
        _absent("PostGIS is not installed (apt: postgresql-15-postgis-3)")
    # The server refuses to run as root, and its user may not enter our folder for temporary files.
    as_user: list[str] = []
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        folder = Path(tempfile.mkdtemp(prefix="terrascope-", dir=account.pw_dir))
        os.chown(folder, account.pw_uid, account.pw_gid)
        as_user = ["runuser", "-u", "postgres", "--"]
    else:
        folder = Path(tempfile.mkdtemp(prefix="terrascope-pg-"))
    port = free_port()

    def run(*command: str) -> None:
        done = subprocess.run(
            [*as_user, *command], check=False, capture_output=True, cwd="/", text=True
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {(done.stdout + done.stderr)[-2000:]}")

    data = str(folder / "data")
    run(str(tools / "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c fsync=off -k {folder}"
    pg_ctl = str(tools / "pg_ctl")
    run(pg_ctl, "-D", data, "-l", str(folder / "log"), "-o", options, "-w", "start")
    try:
        yield Postgres(port, tools)
    finally:
        run(pg_ctl, "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def start_pgstac(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[list[dict[str, Any]], list[dict[str, Any]]], str]]:
    """Load collections and items into pgstac, serve them by stac-fastapi, return the URL."""
    import psycopg

    servers: list[subprocess.Popen[bytes]] = []
    binaries = Path(sys.prefix) / "bin"

    def start(collections: list[dict[str, Any]], items: list[dict[str, Any]]) -> str:
        name = f"pgstac{len(servers)}"
        with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f"create database {name}")
        with psycopg.connect(postgres.dsn(name), autocommit=True) as connection:
            connection.execute("create extension postgis")
        pypgstac = [str(binaries / "pypgstac")]
        dsn = ["--dsn", postgres.dsn(name)]
        subprocess.run([*pypgstac, "migrate", *dsn], check=True, capture_output=True)
        folder = tmp_path_factory.mktemp(name)
        for kind, documents in (("collections", collections), ("items", items)):
            path = folder / f"{kind}.ndjson"
            path.write_text("".join(json.dumps(document) + "\n" for document in documents))
            command = [*pypgstac, "load", kind, str(path), "--method", "upsert", *dsn]
            subprocess.run(command, check=True, capture_output=True)
        url, process = _serve_pgstac(postgres.port, name, folder / "log")
        servers.append(process)
        return url

    yield start
    for process in servers:
        process.terminate()
        process.wait(20)


def _serve_pgstac(port: int, database: str, log: Path) -> tuple[str, subprocess.Popen[bytes]]:
    names = {"USER": "postgres", "PASS": "x", "PASSWORD": "x", "DBNAME": database}
    names |= {"HOST_READER": "127.0.0.1", "HOST_WRITER": "127.0.0.1", "PORT": str(port)}
    environment = os.environ | {f"POSTGRES_{key}": value for key, value in names.items()}
    environment |= {
        "PGUSER": "postgres",
        "PGPASSWORD": "x",
        "PGDATABASE": database,
        "PGHOST": "127.0.0.1",
        "PGPORT": str(port),
    }
    http = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory"]
    command += ["stac_fastapi.pgstac.app:create_app", "--host", "127.0.0.1", "--port", str(http)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    url = f"http://127.0.0.1:{http}"
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=5):
                return url, process
        except OSError:
            time.sleep(0.2)
    process.kill()
    raise RuntimeError(f"stac-fastapi did not start: {log.read_text()[-800:]}")
