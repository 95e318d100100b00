"""Small labelled scenes of blobs, both sensors, a change between every two dates."""

from __future__ import annotations

import datetime as dt

import numpy as np
import torch
from scipy import ndimage

from terrascope.data.scenes import LabelledScene
from terrascope.model.configuration_terrascope import NanoConfig, TerrascopeConfig
from terrascope.model.geometry import Geometry
from terrascope.model.modeling_terrascope import TerrascopeModel
from terrascope.model.stacks import Stack, Window
from terrascope.model.tokenization_nano import NanoTokenizer, SpecialIds
from terrascope.sensors import S2_BANDS
from terrascope.types import ChangeKind

SIDE = 48
TOKENIZER = NanoTokenizer()


def blobs(rng: np.random.Generator, classes: int, side: int = SIDE) -> np.ndarray:
    """Return class codes 1 to `classes` in smooth patches."""
    noise = ndimage.gaussian_filter(rng.normal(size=(classes, side, side)), (0, 5, 5))
    return (noise.argmax(0) + 1).astype(np.uint8)


def make_scene(seed: int, *, dates: int = 2, classes: int = 8, side: int = SIDE) -> LabelledScene:
    """Return a scene whose pixels say what they are, with a corner that was not observed."""
    rng = np.random.default_rng(seed)
    cover = [blobs(rng, classes, side)]
    changes = {}
    for date in range(1, dates):
        row, column = rng.integers(2, side // 2, 2)
        height, width = rng.integers(6, side // 3, 2)
        now = cover[-1].copy()
        now[row : row + height, column : column + width] = rng.integers(1, classes + 1)
        cover.append(now)
        kind = int(rng.integers(1, 8))
        for before in range(date):
            moved = cover[before] != now
            changes[before, date] = np.where(moved, kind, ChangeKind.NONE).astype(np.uint8)
    optical = 0.02 + 0.05 * np.stack(cover)[:, None].astype(np.float32)
    optical = np.repeat(optical, len(S2_BANDS), 1)
    optical[-1, :, :5, :7] = np.nan
    radar = -22 + 2 * np.stack(cover)[:, None].astype(np.float32)
    radar = np.concatenate([radar, radar - 6], 1)
    radar[-1, :, :4] = np.nan
    days = [dt.date(2021, 5, 1) + dt.timedelta(days=60 * n) for n in range(dates)]
    window = Window(
        Geometry.planar((side, side), 10.0),
        Stack("sentinel-2", optical, tuple(S2_BANDS), days, "reflectance"),
        Stack("sentinel-1", radar, ("vv", "vh"), [d + dt.timedelta(days=2) for d in days], "dB"),
    )
    return LabelledScene(f"scene-{seed}", window, np.stack(cover), changes)


def tiny_model(side: int = SIDE) -> TerrascopeModel:
    """Return a random model that runs in milliseconds."""
    torch.manual_seed(0)
    ids = SpecialIds.of(TOKENIZER)
    nano = NanoConfig(
        vocab_size=TOKENIZER.vocab_size,
        window_size=side,
        stem_channels=8,
        vision_size=24,
        vision_layers=1,
        vision_heads=2,
        pixel_size=8,
        query_size=24,
        query_layers=1,
        hidden_size=32,
        layers=1,
        mlp_size=48,
    )
    config = TerrascopeConfig(
        nano_config=nano,
        pad_token_id=ids.pad,
        bos_token_id=ids.bos,
        eos_token_id=ids.eos,
        seg_token_id=ids.seg,
        image_token_id=ids.image,
        measure_token_id=ids.measure,
        measure_end_token_id=ids.measure_end,
    )
    return TerrascopeModel(config).eval()
