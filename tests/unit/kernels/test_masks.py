"""Cloud masks on written-out spectra and on real scenes; the disk against scipy."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from terrascope.kernels.masks import dilate, mask_scl, mask_spectrum
from terrascope.types import Quality

SHARED = Path(
    os.environ.get("TERRASCOPE_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data")
)
needs_data = pytest.mark.skipif(not SHARED.exists(), reason=f"no shared data at {SHARED}")

SPECTRA = {
    #             blue  green   red    nir  swir16
    "cloud": (0.45, 0.45, 0.46, 0.52, 0.40),
    "snow": (0.75, 0.78, 0.77, 0.70, 0.10),
    "spruce": (0.015, 0.03, 0.02, 0.22, 0.09),
    "meadow": (0.03, 0.07, 0.04, 0.40, 0.20),
    "dry soil": (0.12, 0.17, 0.23, 0.30, 0.38),
    "sand": (0.20, 0.28, 0.36, 0.42, 0.50),
    "felled": (0.05, 0.07, 0.08, 0.18, 0.24),
    "burnt": (0.03, 0.04, 0.05, 0.09, 0.18),
    "lake": (0.03, 0.03, 0.02, 0.01, 0.01),
    "shade": (0.01, 0.02, 0.015, 0.04, 0.02),
    "town": (0.14, 0.16, 0.18, 0.24, 0.25),
}
EXPECTED = {"cloud": Quality.CLOUD, "snow": Quality.SNOW, "shade": Quality.SHADOW}


@pytest.mark.parametrize("name", SPECTRA)
def test_spectra_of_the_textbook(name: str) -> None:
    bands = dict(zip(("blue", "green", "red", "nir", "swir16"), SPECTRA[name], strict=True))
    planes = {band: np.full((20, 20), value, np.float32) for band, value in bands.items()}
    bits = mask_spectrum(planes, pixel_m=10)
    assert set(np.unique(bits)) == {int(EXPECTED.get(name, 0))}


def test_small_bright_objects_are_no_clouds_and_missing_is_missing() -> None:
    planes = {
        band: np.full((40, 40), value, np.float32)
        for band, value in zip(("blue", "green", "red", "nir"), SPECTRA["meadow"], strict=False)
    }
    for band, value in zip(planes, SPECTRA["cloud"], strict=False):
        planes[band][5:8, 5:9] = value
        planes[band][15:35, 15:35] = value
    planes["red"][0, 0] = np.nan
    bits = mask_spectrum(planes, pixel_m=10)
    assert not bits[5:8, 5:9].any()
    assert (bits[20:30, 20:30] == Quality.CLOUD).all()
    assert bits[0, 0] == Quality.NODATA


def test_without_blue_nothing_is_called_cloud() -> None:
    planes = {band: np.full((9, 9), 0.5, np.float32) for band in ("red", "nir")}
    assert not mask_spectrum(planes, pixel_m=10).any()
    with pytest.raises(ValueError, match="no band"):
        mask_spectrum({}, pixel_m=10)


def test_classes() -> None:
    bits = mask_scl(np.arange(14, dtype=np.uint8))
    cloud, shadow, snow, nodata = (int(q) for q in (2, 4, 8, 16))
    assert bits.tolist() == [16, 16, 0, shadow, 0, 0, 0, 0, *[cloud] * 3, snow, nodata, 16]


@given(
    radius=st.floats(0, 90),
    pixel=st.sampled_from([10, 20, 30]),
    seed=st.integers(0, 99),
)
def test_dilation_is_a_euclidean_disk(radius: float, pixel: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((31, 26)) < 0.01
    distance = distance_transform_edt(~mask) * pixel if mask.any() else np.full(mask.shape, 1e9)
    truth = distance <= radius + 1e-6
    np.testing.assert_array_equal(dilate(mask, radius, pixel), truth)


def reflectance(folder: Path, bands: tuple[str, ...]) -> dict[str, np.ndarray]:
    planes = {}
    for band in bands:
        if (folder / f"{band}.tif").exists():
            with rasterio.open(folder / f"{band}.tif") as file:
                stored = file.read(1)
            planes[band] = np.where(stored == 0, np.nan, stored * 1e-4).astype(np.float32)
    return planes


@needs_data
def test_clear_forest_stays_clear() -> None:
    """The bark-beetle composites hold hardly any cloud: hardly anything may be masked."""
    masked = []
    for folder in sorted((SHARED / "stac" / "sentinel-2-l2a").glob("bark-beetle*"))[::8]:
        bits = mask_spectrum(
            reflectance(folder, ("blue", "green", "red", "nir", "swir16")), pixel_m=10
        )
        seen = (bits & Quality.NODATA) == 0
        masked.append((bits[seen] != 0).mean())
    assert len(masked) == 40
    assert np.mean(masked) < 0.005


@needs_data
@pytest.mark.parametrize(("subset", "pixel_m"), [("S2?_33TWL", 120), ("nrt-romania", 10)])
def test_agrees_with_the_scene_classification_on_thick_cloud(subset: str, pixel_m: int) -> None:
    hit = thick = false = clear = 0
    for folder in sorted((SHARED / "stac" / "sentinel-2-l2a").glob(f"{subset}*")):
        bits = mask_spectrum(reflectance(folder, ("blue", "green", "red", "nir")), pixel_m=pixel_m)
        with rasterio.open(folder / "scl.tif") as file:
            scl = file.read(1)
        cloud = (bits & Quality.CLOUD) != 0
        hit += np.count_nonzero(cloud & (scl == 9))
        thick += np.count_nonzero(scl == 9)
        false += np.count_nonzero(cloud & np.isin(scl, (4, 5, 6)))
        clear += np.count_nonzero(np.isin(scl, (4, 5, 6)))
    assert hit / thick > 0.85
    assert false / clear < 0.01


@needs_data
def test_labelled_cloud_scene() -> None:
    """A Landsat-like scene with hand-made cloud mask (ukis-csmask)."""
    with np.load(next((SHARED / "arrays").glob("14_*/*.npz"))) as data:
        image, mask = data["img"].astype(np.float32), data["msk"].squeeze()
    names = ("blue", "green", "red", "nir", "swir16")
    bits = mask_spectrum({n: image[..., i] for i, n in enumerate(names)}, pixel_m=30)
    cloud = (bits & Quality.CLOUD) != 0
    assert cloud[mask == 4].mean() > 0.7
    assert cloud[np.isin(mask, (1, 3))].mean() < 0.01
