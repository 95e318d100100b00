"""Publishing: all or nothing per set, the manifest last, nothing touched twice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from terrascope.errors import ProductError
from terrascope.products import publish as publishing
from terrascope.products.manifest import Entry, Manifest, inventory, is_product
from terrascope.products.objects import ObjectFolder
from terrascope.products.publish import (
    check_published,
    open_staging,
    publish,
    read_text,
    write_text,
)

OLD = {
    "maps/status.tif": b"old status",
    "maps/33N/status.tif": b"same in both",
    "maps/32N/status.tif": b"a zone that goes",
    "stac/collection.json": b"{}",
    "answers.parquet": b"a table that goes",
    "events.geojson": b"old events",
    "report.html": b"old report",
    "report.json": b"old figures",
}
NEW = {
    "maps/status.tif": b"new status",
    "maps/33N/status.tif": b"same in both",
    "stac/collection.json": b"{}",
    "events.geojson": b"new events",
    "report.html": b"new report",
    "report.json": b"new figures",
}


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the library may catch it."""


def stage(output: Path, files: dict[str, bytes], run_id: str = "run") -> Path:
    staging = open_staging(output, run_id)
    for name, content in files.items():
        path = staging / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return staging


def published(output: Path) -> dict[str, bytes]:
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in output.rglob("*")
        if path.is_file() and not path.relative_to(output).parts[0].startswith(".")
    }


def test_publish_replaces_removes_and_lists(tmp_path: Path) -> None:
    output = tmp_path / "out"
    publish(stage(output, OLD), output)
    (output / "maps/notes.qgz").write_text("the analyst's own")
    (output / "cube").mkdir()
    (output / "cube/chunk").write_bytes(b"pixels")
    write_text(output, "run.json", "{}")
    manifest = publish(stage(output, NEW), output)
    found = published(output)
    listed = json.loads(found.pop("manifest.json"))
    foreign = {"maps/notes.qgz": b"the analyst's own", "cube/chunk": b"pixels", "run.json": b"{}"}
    assert found == NEW | foreign
    assert [(f["path"], f["size"], f["sha256"]) for f in listed["files"]] == [
        (name, len(content), hashlib.sha256(content).hexdigest())
        for name, content in sorted(NEW.items())
    ]
    assert manifest.paths == set(NEW)
    assert not list(output.glob(".*"))
    assert not (output / "maps/32N").exists()
    assert check_published(output) == ()
    (output / "report.html").write_bytes(b"tampered..")
    (output / "events.geojson").unlink()
    assert check_published(output) == ("events.geojson: missing", "report.html: changed")


def test_same_content_twice_touches_nothing(tmp_path: Path) -> None:
    output = tmp_path / "out"
    publish(stage(output, OLD), output)
    before = {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in output.rglob("*")}
    publish(stage(output, OLD), output)
    assert {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in output.rglob("*")} == before


def test_unchanged_file_of_a_changed_set_stays_the_same_file(tmp_path: Path) -> None:
    output = tmp_path / "out"
    publish(stage(output, OLD), output)
    same = output / "maps/33N/status.tif"
    before = (same.stat().st_ino, same.stat().st_mtime_ns)
    publish(stage(output, NEW), output)
    assert (same.stat().st_ino, same.stat().st_mtime_ns) == before


@pytest.mark.parametrize("exchange", [True, False], ids=["one-step", "two-renames"])
def test_killed_anywhere_then_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(publishing, "_AT_FDCWD", -1)  # the system call refuses
    originals = {name: getattr(publishing, name) for name in ("_rename", "_link", "_forget")}
    fatal, finished = 0, False
    while not finished:
        output = tmp_path / f"out-{fatal}"
        publish(stage(output, OLD), output)
        (output / "maps/notes.qgz").write_text("own")
        staging = stage(output, NEW, "next")
        calls = iter(range(10_000))

        def deadly(name: str, calls=calls, fatal=fatal):
            def call(*arguments):
                if next(calls) == fatal:
                    raise Killed
                return originals[name](*arguments)

            return call

        with monkeypatch.context() as patch:
            for name in originals:
                patch.setattr(publishing, name, deadly(name))
            try:
                publish(staging, output)
                finished = True
            except Killed:
                found = published(output)
                for name, content in found.items():
                    if name not in ("manifest.json", "maps/notes.qgz"):
                        assert content in (OLD.get(name), NEW.get(name))
                if exchange:
                    maps = {n: c for n, c in found.items() if n.startswith("maps/")}
                    maps.pop("maps/notes.qgz")
                    assert maps in [
                        {n: c for n, c in side.items() if n.startswith("maps/")}
                        for side in (OLD, NEW)
                    ]
                if found["report.html"] == NEW["report.html"]:
                    assert found["events.geojson"] == NEW["events.geojson"]
                    assert found["maps/status.tif"] == NEW["maps/status.tif"]
                assert set(Manifest.from_json(found["manifest.json"].decode()).paths) == set(OLD)
        if not finished:
            publish(stage(output, NEW, "again"), output)
        found = published(output)
        assert check_published(output) == ()
        found.pop("manifest.json")
        assert found == NEW | {"maps/notes.qgz": b"own"}
        assert not list(output.glob(".*"))
        fatal += 1
    assert fatal > 6


def test_refuses_what_is_no_product(tmp_path: Path) -> None:
    output = tmp_path / "out"
    for name in ("cube/x", ".hidden", "run.json", "maps/.secret"):
        staging = stage(output, {name: b"x"})
        with pytest.raises(ProductError, match="reserved or hidden"):
            publish(staging, output)
    staging = stage(output, {"report.html": b"x"})
    (staging / "link").symlink_to("/etc/passwd")
    with pytest.raises(ProductError, match="plain file"):
        inventory(staging)
    with pytest.raises(ProductError, match="no product"):
        publish(open_staging(output, "empty"), output)
    with pytest.raises(ValueError, match="run id"):
        open_staging(output, "../x")
    with pytest.raises(ValueError, match="plain name"):
        write_text(output, "../x", "")
    assert published(output) == {}


def test_forged_manifest_removes_nothing_outside(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").write_text("precious")
    (output / "link").symlink_to(tmp_path / "elsewhere")
    (output / "cube").mkdir()
    (output / "cube/chunk").write_text("precious")
    forged = [Entry(n, 1, "00") for n in ("../victim", str(victim), "cube/chunk", "link/file")]
    (output / "manifest.json").write_text(Manifest(tuple(forged)).to_json())
    publish(stage(output, NEW), output)
    assert victim.read_text() == "precious"
    assert (tmp_path / "elsewhere/file").read_text() == "precious"
    assert (output / "cube/chunk").read_text() == "precious"
    assert not is_product("a/../b")
    assert not is_product("a//b")
    assert not is_product("")


def test_small_files_and_torn_manifests(tmp_path: Path) -> None:
    assert read_text(tmp_path / "none", "run.json") == ""
    assert Manifest.from_json('{"schema": "terrascope-man') == Manifest()
    with pytest.raises(ProductError, match=r"manifest\.json"):
        check_published(tmp_path)


def upload(store: MemoryStore, tmp_path: Path, files: dict[str, bytes]) -> None:
    staging = stage(tmp_path / "local", files)
    ObjectFolder(store).publish(staging, inventory(staging))


def objects(store: MemoryStore) -> dict[str, bytes]:
    names = [meta["path"] for batch in store.list() for meta in batch]
    return {name: bytes(store.get(name).bytes()) for name in names}


def test_object_store_manifest_last_and_no_upload_twice(tmp_path: Path) -> None:
    store = MemoryStore()
    upload(store, tmp_path, OLD)
    stamps = {m["path"]: m["last_modified"] for batch in store.list() for m in batch}
    upload(store, tmp_path, OLD)
    assert {m["path"]: m["last_modified"] for batch in store.list() for m in batch} == stamps
    upload(store, tmp_path, NEW)
    found = objects(store)
    assert Manifest.from_json(found.pop("manifest.json").decode()).paths == set(NEW)
    assert found == NEW
    after = {m["path"]: m["last_modified"] for batch in store.list() for m in batch}
    assert after["maps/33N/status.tif"] == stamps["maps/33N/status.tif"]


def test_object_store_killed_anywhere_then_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = ObjectFolder._put
    for fatal in range(1, 7):
        store = MemoryStore()
        upload(store, tmp_path, OLD)
        calls = iter(range(100))

        def deadly(self, name, content, calls=calls, fatal=fatal):
            if next(calls) == fatal:
                raise Killed
            put(self, name, content)

        with monkeypatch.context() as patch:
            patch.setattr(ObjectFolder, "_put", deadly)
            try:
                upload(store, tmp_path, NEW)
            except Killed:
                assert (
                    objects(store)["manifest.json"]
                    == Manifest(inventory(stage(tmp_path / "old", OLD)).entries).to_json().encode()
                )
        upload(store, tmp_path, OLD)  # the configuration went back: same sizes, other content
        found = objects(store)
        found.pop("manifest.json")
        assert found == OLD
