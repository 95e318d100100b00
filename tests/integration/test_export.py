"""Exports to a real S3 server and to folders: verified, resumed after a kill, never half."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import obstore
import pytest
from obstore.store import S3Store

from terrascope.errors import ConfigError, ProductError
from terrascope.products.export import JOURNAL, Export, export_products
from terrascope.products.manifest import MANIFEST
from terrascope.products.publish import open_staging, publish

FILES = 16


def write_products(output: Path, *, seed: int = 0, maps: int = FILES) -> Path:
    """Publish random maps; the first is larger than one part of a multipart upload."""
    rng = np.random.default_rng(seed)
    staging = open_staging(output, "run")
    (staging / "maps" / "33N").mkdir(parents=True)
    for index in range(maps):
        size = 5_500_000 if index == 0 else 20_000
        (staging / "maps" / "33N" / f"layer_{index:02d}.tif").write_bytes(rng.bytes(size))
    (staging / "events.geojson").write_text("{}")
    (staging / "report.html").write_text(f"report {seed}")
    publish(staging, output)
    (output / "run.json").write_text("{}")  # no product
    return output


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return write_products(tmp_path / "out")


def stored(url: str) -> dict[str, tuple[str, str]]:
    """Return checksum and time of writing of every object, read with a plain client."""
    store = S3Store.from_url(
        url, config={"virtual_hosted_style_request": False}, client_options={"allow_http": True}
    )
    return {
        meta["path"]: (
            hashlib.sha256(bytes(obstore.get(store, meta["path"]).bytes())).hexdigest(),
            str(meta["last_modified"]),
        )
        for page in obstore.list(store)
        for meta in page
    }


def listed(output: Path) -> dict[str, str]:
    files = json.loads((output / MANIFEST).read_text())["files"]
    return {file["path"]: file["sha256"] for file in files}


def assert_complete(url: str, output: Path) -> None:
    """Every file that the manifest lists is there, byte for byte, and nothing else."""
    found = {name: checksum for name, (checksum, _) in stored(url).items()}
    own = hashlib.sha256((output / MANIFEST).read_bytes()).hexdigest()
    assert found == listed(output) | {MANIFEST: own}


def test_every_object_arrives_and_the_same_again_does_nothing(bucket: str, output: Path) -> None:
    url = f"{bucket}/whole/thing"
    first = export_products(output, url)
    assert set(first.uploaded) == set(listed(output))
    assert_complete(url, output)
    before = stored(url)
    time.sleep(1.1)  # the server's clock counts seconds
    again = export_products(output, url)
    assert again.uploaded == again.removed == ()
    assert stored(url) == before


KILLED = """
import sys
from terrascope.products.export import export_products
export_products(*sys.argv[1:3], workers=1)
"""


def test_a_killed_export_leaves_no_manifest_and_goes_on(bucket: str, output: Path) -> None:
    url = f"{bucket}/killed"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(output), url])
    try:
        while len(stored(url)) < 4:
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    left = stored(url)
    assert MANIFEST not in left
    assert JOURNAL in left
    whole = {name for name, (checksum, _) in left.items() if listed(output).get(name) == checksum}
    assert 0 < len(whole) < len(listed(output))
    time.sleep(1.1)
    second = export_products(output, url)
    assert set(second.uploaded) == set(listed(output)) - whole
    assert_complete(url, output)
    after = stored(url)
    assert {name: after[name] for name in whole} == {name: left[name] for name in whole}
    assert export_products(output, url).uploaded == ()
    assert stored(url) == after


def test_another_version_replaces_what_changed_and_removes_what_is_stale(
    bucket: str, output: Path
) -> None:
    url = f"{bucket}/versions"
    export_products(output, url)
    write_products(output, seed=1, maps=3)
    job = Export(output, url)
    for batch in job.pending():
        assert MANIFEST not in stored(url), "a reader would find old words about new files"
        job.upload(batch)
    result = job.finish()
    assert len(result.removed) == FILES - 3
    assert "events.geojson" not in result.uploaded
    assert_complete(url, output)


def test_a_version_given_up_leaves_nothing_to_the_next(bucket: str, output: Path) -> None:
    url = f"{bucket}/given-up"
    job = Export(output, url)
    job.upload(job.pending()[0])  # and then the process died
    write_products(output, seed=1, maps=2)
    export_products(output, url)
    assert_complete(url, output)


def test_a_wrong_object_of_the_right_size_is_found(bucket: str, output: Path) -> None:
    url = f"{bucket}/wrong"
    name = "maps/33N/layer_05.tif"
    store = S3Store.from_url(
        url, config={"virtual_hosted_style_request": False}, client_options={"allow_http": True}
    )
    obstore.put(store, name, bytes((output / name).stat().st_size))
    assert name in export_products(output, url).uploaded
    assert_complete(url, output)


def test_products_that_change_underway_are_not_exported(bucket: str, output: Path) -> None:
    url = f"{bucket}/changing"
    job = Export(output, url)
    (batch,) = job.pending()
    (output / "report.html").write_text("report 7")  # as long as it was
    with pytest.raises(ProductError, match=r"report.html: arrives at .* another checksum") as told:
        job.upload(batch)
    assert told.value.transient
    assert MANIFEST not in stored(url)
    with pytest.raises(ProductError, match=r"report.html: changed; expected what manifest.json"):
        Export(output, url)


def test_a_folder(output: Path, tmp_path: Path) -> None:
    target = tmp_path / "a shelf" / "copy"
    target.mkdir(parents=True)
    (target / "report.html#1").write_text("what a killed writer left")
    (target / "foreign.txt").write_text("somebody else's")
    result = export_products(output, target)
    assert str(result).startswith(f"{target}: {FILES + 2} files, ")
    for name, checksum in listed(output).items():
        assert hashlib.sha256((target / name).read_bytes()).hexdigest() == checksum
    times = {path: path.stat().st_mtime_ns for path in target.rglob("*") if path.is_file()}
    assert max(times, key=lambda path: times[path]).name == MANIFEST
    assert {path.name for path in target.iterdir()} == {
        *("maps", "events.geojson", "report.html", MANIFEST, "foreign.txt")
    }
    assert export_products(output, f"file://{target}".replace(" ", "%20")).uploaded == ()
    assert {path: path.stat().st_mtime_ns for path in times} == times


class _Refusing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def refusing() -> Iterator[str]:
    """Start a server that lets nobody in."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_errors_say_what_to_do(
    bucket: str,
    output: Path,
    tmp_path: Path,
    refusing: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ProductError, match="s3://nowhere/x: there is no such bucket"):
        export_products(output, "s3://nowhere/x")
    for url in ("s3://user:hidden0815@cubes/x", "s3://cubes/x?X-Amz-Signature=hidden0815"):
        with pytest.raises(ConfigError, match="credentials or parameters in the address") as told:
            export_products(output, url)
        assert "hidden0815" not in str(told.value)
    with pytest.raises(ConfigError, match="expected a folder, s3://bucket/prefix"):
        export_products(output, "ftp://cubes/x")
    for inside in (output, output / "copy", output.parent):
        with pytest.raises(ConfigError, match="holds the products or lies among them"):
            export_products(output, inside)
    with pytest.raises(ProductError, match=r"expected a local folder with manifest.json"):
        export_products(tmp_path, f"{bucket}/x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", refusing)
    with pytest.raises(ProductError, match="s3://cubes/x: may not be listed; check the rights"):
        export_products(output, "s3://cubes/x")


@pytest.mark.parametrize("url", ["gs://bucket/some/prefix", "az://container/some/prefix"])
def test_google_and_azure_open_from_the_environment(
    url: str, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "aGlkZGVuMDgxNQ==")
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    assert str(Export(output, url).destination) == url
