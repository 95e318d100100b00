"""A signer that arrives at a worker again and again is one signer, with one token."""

from __future__ import annotations

import pickle

from terrascope.catalog.provider import Server
from terrascope.catalog.sign import PlanetaryComputerSigner


def test_copies_of_a_signer_are_equal_and_others_are_not() -> None:
    signer = PlanetaryComputerSigner("http://127.0.0.1:1/token")
    copy = pickle.loads(pickle.dumps(signer))
    assert copy == signer
    assert hash(copy) == hash(signer)
    assert signer != PlanetaryComputerSigner("http://127.0.0.1:2/token")
    assert signer != PlanetaryComputerSigner("http://127.0.0.1:1/token", Server(retries=1))
    assert signer != "http://127.0.0.1:1/token"
