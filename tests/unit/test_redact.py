"""What may be secret is taken out, whatever the text around it."""

from __future__ import annotations

import pytest

from terrascope.errors import CatalogError, ReadError, TerrascopeError
from terrascope.redact import HIDDEN, redact_settings, redact_text, redact_url, without_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/a/b.tif?sig=abc&se=1#x", "https://host/a/b.tif"),
        ("https://user:p%40ss@host:8080/a", "https://host:8080/a"),
        ("s3://bucket/key", "s3://bucket/key"),
        ("/data/a.tif", "/data/a.tif"),
        ("https://u:p@[broken/x?sig=1", "https://[broken/x"),
        ("http://a@b@host/x", "http://host/x"),
        ("/vsicurl/https://user:pw@host/a.tif?sig=abc", "/vsicurl/https://host/a.tif"),
    ],
)
def test_redact_url(url: str, shown: str) -> None:
    assert redact_url(url) == shown


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://h/a.tif?api_key=hush", "https://h/a.tif"),
        ("https://h/a.tif?v=1&apikey=hush", "https://h/a.tif"),
        ("https://h/a.tif?subscription-key=hush#x", "https://h/a.tif"),
        ("https://h/a.tif?password=hush", "https://h/a.tif"),
        ("https://h/a.tif?accessToken=hush", "https://h/a.tif"),
        ("https://h/a.tif?X-Amz%2DSignature=hush", "https://h/a.tif"),
        ("https://h/a.tif#access_token=hush", "https://h/a.tif"),
        ("https://user:hush@h/a.tif?version=3", "https://h/a.tif?version=3"),
        ("https://h?mail=a@b", "https://h?mail=a@b"),
        ("/data/a#sig=1.tif", "/data/a#sig=1.tif"),
        ("abfs://container@account.dfs.core.windows.net/a", None),
        ("https://h/a.tif?versionId=4&design=2", None),
    ],
)
def test_without_secrets(url: str, kept: str | None) -> None:
    assert without_secrets(url) == (url if kept is None else kept)


@pytest.mark.parametrize(
    "text",
    [
        "GET https://u:hush@h/x?sig=hush failed",
        "/vsicurl/https://h/x.tif?token=hush: 403",
        "AWS_SECRET_ACCESS_KEY=hush",
        "header 'Authorization: Bearer hushhushhush'",
        "api_key: hush, next",
        '{"password": "hush"}',
        "https://a.b/c.tif?sig=hush&x=hush: failed",
        "'/vsicurl/https://a.b/c.tif?token=hush' not recognized",
        "c.tif?foo=hush, band 1: IReadBlock failed",
        "/vsis3/bucket/c.tif?X-Amz-Signature=hush",
        "https://user:hush@a.b/c.tif is gone",
        "denied: Signature=hush",
        "HTTPConnectionPool(host='h', port=80): Max retries exceeded with url: /search?k=hush (",
    ],
)
def test_redact_text(text: str) -> None:
    assert "hush" not in redact_text(text)


def test_redact_text_keeps_the_sentence() -> None:
    text = "HTTP response code on https://h/x.tif?sig=hush: 503 (https://u:hush@h/y), again"
    assert redact_text(text) == "HTTP response code on https://h/x.tif: 503 (https://h/y), again"


def test_redact_settings_keeps_the_rest() -> None:
    settings = {
        "catalog": {"url": "https://u:p@h/?k=v", "api_key": "abc", "token": ["a", "b"]},
        "screen": {"threshold": 0.5, "bands": ("red", "nir")},
        "key_figures": 3,
    }
    assert redact_settings(settings) == {
        "catalog": {"url": "https://h/", "api_key": HIDDEN, "token": HIDDEN},
        "screen": {"threshold": 0.5, "bands": ["red", "nir"]},
        "key_figures": 3,
    }


@pytest.mark.parametrize("kind", [CatalogError, ReadError])
def test_errors_keep_no_secret_of_their_url(kind: type[TerrascopeError]) -> None:
    facts = {"item": "S2A_1"} if kind is ReadError else {}
    error = kind("gone", url="https://u:hush@h/x.tif?sig=hush", **facts)
    assert error.url == "https://h/x.tif"
    assert kind("gone", **facts).url is None
