"""Everything that can go wrong with a raster, with real broken files and real HTTP servers."""

from __future__ import annotations

import dataclasses
import datetime as dt
import http.server
import os
import pickle
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from terrascope.errors import ReadError
from terrascope.readers import open_reader
from terrascope.types import AssetRef, SceneRef

GRID = GeoBox((600, 640), Affine(10, 0, 500_000, 0, -10, 4_600_000), "EPSG:32633")
SECRET = "sv=2024&sig=abc%2Fdef&custom=hush"


def sign(href: str) -> str:
    """Sign as Planetary Computer does: with a query string."""
    return f"{href}?{SECRET}"


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder by range; can fail, stall, or stop in the middle."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.requests: list[str] = []
        self.statuses: list[int] = []
        self.stall_after: int | None = None
        self.release = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None:
        """Stay quiet."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        server = self.server
        server.requests.append(self.path)
        if server.stall_after is not None and len(server.requests) > server.stall_after:
            server.release.wait(20)
            self.close_connection = True
            return
        path = server.folder / self.path.partition("?")[0].lstrip("/")
        status = server.statuses.pop(0) if server.statuses else 0
        if status or not path.exists():
            self.send_response(status or 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = path.read_bytes()
        match = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        first, last = (
            (int(match[1]), min(int(match[2]), len(data) - 1)) if match else (0, len(data) - 1)
        )
        self.send_response(206 if match else 200)
        self.send_header("Accept-Ranges", "bytes")
        if match:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        if body:
            self.wfile.write(data[first : last + 1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()
    thread.join()


def write(path: Path, **changes: object) -> np.ndarray:
    """Write a COG that needs several requests."""
    rng = np.random.default_rng(3)
    numbers = rng.integers(1, 9000, GRID.shape.yx, dtype=np.uint16)
    profile = {
        "driver": "COG",
        "height": GRID.shape.y,
        "width": GRID.shape.x,
        "count": 1,
        "dtype": "uint16",
        "crs": "EPSG:32633",
        "transform": GRID.affine,
        "nodata": 0,
        "blocksize": 128,
        "compress": "deflate",
    } | changes
    with rasterio.open(path, "w", **profile) as file:
        file.write(numbers, 1)
    return numbers


def scene(href: str, **facts: object) -> SceneRef:
    when = dt.datetime(2020, 7, 1, 10, tzinfo=dt.UTC)
    asset = AssetRef(href=href, nodata=0, **facts)  # type: ignore[arg-type]
    return SceneRef("S2_BAD", "s2", "sentinel-2", when, when.date(), {"red": asset})


def failure(href: str, *, backend: str = "stackstac", **facts: object) -> ReadError:
    """Read where it must fail, and return how."""
    reader = open_reader(backend, attempts=2, wait_s=0.01, rest_s=0)
    with pytest.raises(ReadError, match=r"^S2_BAD \[red\]: ") as caught:
        reader.read(scene(href, **facts), ["red"], GRID, resampling="nearest")
    assert (caught.value.item, caught.value.band) == ("S2_BAD", "red")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    return caught.value


@pytest.mark.parametrize("backend", ["stackstac", "odc-stac"])
def test_truncated_file(tmp_path: Path, backend: str) -> None:
    write(tmp_path / "whole.tif")
    data = (tmp_path / "whole.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(data[: len(data) // 2])
    error = failure(str(tmp_path / "cut.tif"), backend=backend)
    assert "bytes, expected" in error.message
    assert not error.transient
    assert error.url == str(tmp_path / "cut.tif")


def test_corrupt_blocks(tmp_path: Path) -> None:
    write(tmp_path / "whole.tif")
    data = bytearray((tmp_path / "whole.tif").read_bytes())
    data[len(data) // 2 :] = os.urandom(len(data) - len(data) // 2)
    (tmp_path / "bad.tif").write_bytes(data)
    assert "Decod" in failure(str(tmp_path / "bad.tif")).message


def test_no_file_and_no_raster(tmp_path: Path) -> None:
    assert "No such file" in failure(str(tmp_path / "none.tif")).message
    (tmp_path / "page.tif").write_text("<html>please sign in</html>")
    assert "not recognized" in failure(str(tmp_path / "page.tif")).message


def test_jpeg2000_named_tif_without_georeference(tmp_path: Path) -> None:
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        write(tmp_path / "x.jp2", driver="JP2OpenJPEG", crs=None, transform=None, blocksize=None)
    (tmp_path / "x.jp2").rename(tmp_path / "x.tif")
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        error = failure(str(tmp_path / "x.tif"))
    assert "JP2OpenJPEG file has no coordinate reference system; refused" in error.message


def test_georeference_that_contradicts_the_item(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write(path)
    truth = {"epsg": 32633, "transform": tuple(GRID.affine[:6]), "shape_yx": GRID.shape.yx}
    reader = open_reader()
    assert reader.read(scene(str(path), **truth), ["red"], GRID, resampling="nearest").any()
    moved = (10.0, 0.0, 500_010.0, 0.0, -10.0, 4_600_000.0)
    assert "states transform" in failure(str(path), **truth | {"transform": moved}).message
    assert "states shape (10, 20)" in failure(str(path), **truth | {"shape_yx": (10, 20)}).message
    error = failure(str(path), **truth | {"epsg": 32634})
    assert "states EPSG:32634, the file has EPSG:32633" in error.message


def test_several_bands_and_no_transform(tmp_path: Path) -> None:
    write(tmp_path / "two.tif", driver="GTiff", count=2, blocksize=None)
    assert "2 bands" in failure(str(tmp_path / "two.tif")).message
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        write(tmp_path / "flat.tif", driver="GTiff", transform=None, blocksize=None)
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        assert "no geotransform" in failure(str(tmp_path / "flat.tif")).message


def test_a_file_that_was_rewritten_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    reader = open_reader()
    first = write(path)
    np.testing.assert_array_equal(
        reader.read(scene(str(path)), ["red"], GRID, resampling="nearest")[0], first
    )
    with rasterio.open(path) as file:
        profile = file.profile
    (tmp_path / "b.tif").unlink(missing_ok=True)
    with rasterio.open(tmp_path / "b.tif", "w", **profile) as file:
        file.write(first + 1, 1)
    (tmp_path / "b.tif").replace(path)
    np.testing.assert_array_equal(
        reader.read(scene(str(path)), ["red"], GRID, resampling="nearest")[0], first + 1
    )


def test_http_reads_and_signs(server: Server) -> None:
    truth = write(server.folder / "a.tif")
    reader = open_reader(sign=sign)
    got = reader.read(scene(f"{server.url}/a.tif"), ["red"], GRID, resampling="nearest")
    np.testing.assert_array_equal(got[0], truth)
    assert all(path.endswith(SECRET) for path in server.requests)


@pytest.mark.parametrize(("status", "transient"), [(404, False), (403, True), (500, True)])
def test_http_status(server: Server, status: int, transient: bool) -> None:
    write(server.folder / "a.tif")
    server.statuses = [status] * 20
    reader = open_reader(sign=sign, attempts=2, wait_s=0.01, rest_s=0)
    with pytest.raises(ReadError, match=str(status)) as caught:
        reader.read(scene(f"{server.url}/a.tif"), ["red"], GRID, resampling="nearest")
    error = caught.value
    assert error.transient is transient
    assert error.url == f"{server.url}/a.tif"
    assert "hush" not in f"{error}{error.__cause__}{error.args}"
    assert error.__cause__ is None


def test_a_passing_failure_is_tried_again_with_a_new_signature(server: Server) -> None:
    truth = write(server.folder / "a.tif")
    server.statuses = [503, 503]
    signed = []

    def fresh(href: str) -> str:
        signed.append(href)
        return f"{href}?try={len(signed)}"

    reader = open_reader(sign=fresh, attempts=3, wait_s=0.01)
    got = reader.read(scene(f"{server.url}/a.tif"), ["red"], GRID, resampling="nearest")
    np.testing.assert_array_equal(got[0], truth)
    assert len(signed) == 2


@pytest.mark.parametrize("after", [0, 2], ids=["at once", "in the middle"])
def test_a_server_that_never_answers(server: Server, after: int) -> None:
    write(server.folder / "a.tif")
    server.stall_after = after
    reader = open_reader(attempts=1, timeout_s=1, rest_s=60)
    start = time.monotonic()
    with pytest.raises(ReadError) as caught:
        reader.read(scene(f"{server.url}/a.tif"), ["red"], GRID, resampling="nearest")
    assert time.monotonic() - start < 12
    assert caught.value.transient
    assert re.search("stalled|too slow|timed out", caught.value.message)
    asked = len(server.requests)
    other = dataclasses.replace(scene(f"{server.url}/a.tif"), id="other")
    with pytest.raises(ReadError) as again:
        reader.read(other, ["red"], GRID, resampling="nearest")
    assert len(server.requests) == asked, "left alone for a while"
    assert (again.value.item, again.value.band, again.value.transient) == ("other", "red", True)
    assert again.value.message == caught.value.message


def test_truncated_over_http_keeps_the_signature_secret(server: Server) -> None:
    write(server.folder / "whole.tif")
    data = (server.folder / "whole.tif").read_bytes()
    (server.folder / "cut.tif").write_bytes(data[: len(data) // 2])
    reader = open_reader(sign=sign, attempts=1, rest_s=0)
    with pytest.raises(ReadError) as caught:
        reader.read(scene(f"{server.url}/cut.tif"), ["red"], GRID, resampling="nearest")
    assert "hush" not in str(caught.value)
    assert "sig" not in str(caught.value)
    assert "IReadBlock" in caught.value.message


@pytest.mark.parametrize("wrong", [{"timeout_s": 0}, {"attempts": 0}, {"cache_mb": 0}])
def test_settings_are_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        open_reader(**wrong)
