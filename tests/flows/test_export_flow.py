"""The export flow with Prefect, to an S3 server: what arrives opens, no secret is left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pystac
import pytest
from obstore.store import S3Store
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

import flows.export
from flows.monitor import monitor
from terrascope.errors import ConfigError
from terrascope.products.export import Export
from terrascope.products.publish import check_published

KEY, SECRET = "AKIDHIDDEN0815", "hidden-0815-key"


@pytest.fixture(scope="module")
def output(prefect_api: None, tiny_archive: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    monitor(str(tiny_archive.monitor_file(folder)))
    return folder / "out"


@pytest.fixture
def block(prefect_api: None, bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put the credentials into a Secret block, and take them out of the environment."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    settings = {"access_key_id": KEY, "secret_access_key": SECRET}
    Secret(value=json.dumps(settings)).save("bucket", overwrite=True)
    return "bucket"


def download(url: str, folder: Path) -> Iterator[str]:
    store = S3Store.from_url(
        url, config={"virtual_hosted_style_request": False}, client_options={"allow_http": True}
    )
    for page in obstore.list(store):
        for meta in page:
            path = folder / meta["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(obstore.get(store, meta["path"]).bytes()))
            yield meta["path"]


def test_an_export_opens_where_it_lies_and_holds_no_secret(
    output: Path,
    bucket: str,
    block: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    url = f"{bucket}/tiny"
    state = flows.export.export(str(output), url, credentials=block, return_state=True)
    assert state.is_completed(), state.message
    assert state.result().startswith(f"{url}: ")
    assert "0 uploaded" in flows.export.export(str(output), url, credentials=block)

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    copy = tmp_path / "somewhere" / "else"
    assert len(list(download(url, copy))) > 10
    assert not check_published(copy)
    collection = pystac.Collection.from_file(str(copy / "stac" / "collection.json"))
    items = list(collection.get_items())
    assert items
    for thing in (collection, *items):
        hrefs = [asset.href for asset in thing.assets.values()]
        assert hrefs
        assert not [href for href in hrefs if not (copy / "stac" / href).is_file()]

    with get_client(sync_client=True) as client:
        artifacts = [a for a in client.read_artifacts() if a.key == "export"]
        logs = [log.message for log in client.read_logs()]
    assert artifacts
    written = [path for folder in (copy, output) for path in folder.rglob("*") if path.is_file()]
    database = Path(PREFECT_API_DATABASE_CONNECTION_URL.value().split("///")[-1])
    written += list(database.parent.glob(f"{database.name}*"))
    assert len(written) > 20
    said = [str(artifact.data) for artifact in artifacts] + logs + list(capfd.readouterr())
    content = [path.read_bytes() for path in written] + [text.encode() for text in said]
    content.append(caplog.text.encode())
    assert not [text for text in content if KEY.encode() in text or SECRET.encode() in text]
    assert any(b"tiny" in text for text in content)


def test_the_same_without_prefect(
    output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("plan", "upload", "finish"):
        monkeypatch.setattr(flows.export, name, getattr(flows.export, name).fn)
    said = flows.export.export.fn(str(output), str(tmp_path / "copy"))
    assert said.startswith(f"{tmp_path}/copy: ")
    assert not check_published(tmp_path / "copy")
    assert Export(output, tmp_path / "copy").pending() == []


@pytest.mark.parametrize("value", ["no JSON hidden-0815-key", '["hidden-0815-key"]', '{"a": 1}'])
def test_a_block_that_is_none(prefect_api: None, value: str) -> None:
    with pytest.raises(ConfigError, match="credentials: found no Secret block 'absent'"):
        flows.export.read_secret("absent")
    Secret(value=value).save("wrong", overwrite=True)
    with pytest.raises(ConfigError, match="found no Secret block 'wrong'") as told:
        flows.export.read_secret("wrong")
    assert SECRET not in str(told.value)
