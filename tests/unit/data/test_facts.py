"""Figures of true masks against scipy, and scenes against their own arrays."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from terrascope.data.facts import Facts
from terrascope.data.scenes import ANY_CHANGE, DESTROYED, LabelledScene
from terrascope.data.views import cut, turn
from terrascope.model.stacks import Stack
from terrascope.sensors import S2_BANDS
from terrascope.types import ChangeKind
from terrascope.vocabulary import CHANGE_NAMES, CLASS_CODES, LAND_COVER

from .ground import SIDE, make_scene

EIGHT = np.ones((3, 3), np.bool_)


@pytest.fixture(scope="module", params=range(4))
def scene(request: pytest.FixtureRequest) -> LabelledScene:
    return make_scene(request.param, dates=3, classes=4 + request.param)


def observed(scene: LabelledScene, date: int) -> np.ndarray:
    """Return what any sensor saw, band by band."""
    assert scene.window.optical is not None
    assert scene.window.radar is not None
    seen = np.zeros((SIDE, SIDE), np.bool_)
    for values in (scene.window.optical.values, scene.window.radar.values):
        for band in values[date]:
            seen |= np.isfinite(band)
    return seen


def test_masks_are_of_what_is_observed_and_labelled(scene: LabelledScene) -> None:
    last = len(scene.dates) - 1
    assert not observed(scene, last).all()
    for name, code in CLASS_CODES.items():
        expected = (scene.cover[last] == code) & observed(scene, last)
        np.testing.assert_array_equal(scene.mask(name, (-1, last)), expected)
    both = observed(scene, 0) & observed(scene, last)
    kinds = scene.changes[0, last]
    np.testing.assert_array_equal(scene.mask(ANY_CHANGE, (0, last)), both & (kinds > 0))
    for kind, name in CHANGE_NAMES.items():
        np.testing.assert_array_equal(scene.mask(name, (0, last)), both & (kinds == kind))
    gone = both & (scene.cover[0] == 2) & (scene.cover[last] != 2)
    np.testing.assert_array_equal(scene.mask(DESTROYED, (0, last)), gone)


def test_unknown_labels_are_known_nowhere() -> None:
    scene = make_scene(7)
    cover = scene.cover.copy()
    cover[0, :10] = 0
    change = scene.changes[0, 1].copy()
    change[20:30] = ChangeKind.OUTSIDE
    made = LabelledScene("x", scene.window, cover, {(0, 1): change})
    assert not made.known("water", (-1, 0))[:10].any()
    assert not made.known(ANY_CHANGE, (0, 1))[20:30].any()
    assert not made.mask(ANY_CHANGE, (0, 1))[20:30].any()
    assert made.known(ANY_CHANGE, (0, 1))[30:].all()
    assert not made.known(DESTROYED, (0, 1))[:10].any()


def test_labels_that_do_not_fit_are_refused() -> None:
    scene = make_scene(1)
    with pytest.raises(ValueError, match="expected"):
        LabelledScene("x", scene.window, scene.cover[:1])
    with pytest.raises(ValueError, match="two of 2 dates"):
        LabelledScene("x", scene.window, scene.cover, {(1, 0): scene.changes[0, 1]})
    with pytest.raises(ValueError, match="'cloud'"):
        scene.mask("cloud", (-1, 0))


def test_figures_agree_with_scipy(scene: LabelledScene) -> None:
    facts = Facts(scene)
    there = [(name, (-1, 2)) for name in facts.classes(2)]
    assert len(there) > 2
    for named in there:
        mask = scene.mask(*named)
        assert facts.area_m2(named) == pytest.approx(100.0 * mask.sum())
        assert facts.share(named) == pytest.approx(mask.sum() / scene.known(*named).sum())
        assert facts.parts(named) == ndimage.label(mask, EIGHT)[1]
        centre = np.array(ndimage.center_of_mass(mask)) + 0.5
        row, column = np.minimum(centre / SIDE * 3, 2).astype(int)
        words = ("top", "", "bottom")[row], ("left", "", "right")[column]
        assert facts.position(named) == (" ".join(filter(None, words)) or "center")
    for one in there:
        for other in there:
            if one == other:
                continue
            a, b = scene.mask(*one), scene.mask(*other)
            assert facts.touches(one, other) == (ndimage.binary_dilation(a, EIGHT) & b).any()
            assert facts.distance_m(one, other) == pytest.approx(way(a, b))
            assert facts.inside(one, (ANY_CHANGE, (0, 2))) == pytest.approx(
                (a & scene.mask(ANY_CHANGE, (0, 2))).sum() / a.sum()
            )


def way(a: np.ndarray, b: np.ndarray) -> float:
    """Return the shortest way without specks: beyond the edge a mask goes on."""

    def body(mask: np.ndarray) -> np.ndarray:
        core = ndimage.binary_erosion(mask, EIGHT, border_value=1)
        return ndimage.binary_dilation(core, EIGHT) & mask if core.any() else mask

    return 10.0 * float(ndimage.distance_transform_edt(~body(a))[body(b)].min())


def test_parts_of_a_scene_are_cut_and_turned_alike(scene: LabelledScene) -> None:
    part = cut(scene, 8, 16, 24)
    np.testing.assert_array_equal(part.cover, scene.cover[:, 8:32, 16:40])
    np.testing.assert_array_equal(part.observed, scene.observed[:, 8:32, 16:40])
    np.testing.assert_array_equal(part.changes[0, 1], scene.changes[0, 1][8:32, 16:40])
    turned = turn(scene, 1, mirrored=True)
    expected = np.rot90(scene.cover[:, :, ::-1], 1, (1, 2))
    np.testing.assert_array_equal(turned.cover, expected)
    assert turned.window.radar is not None
    for name in LAND_COVER[:3]:
        one, other = Facts(scene), Facts(turned)
        assert one.area_m2((name, (-1, 0))) == other.area_m2((name, (-1, 0)))
        assert one.parts((name, (-1, 0))) == other.parts((name, (-1, 0)))
    # Pixels turn with their labels: the values say which class they are.
    level = (turned.window.radar.values[0, 0] + 22) / 2
    seen = np.isfinite(level)
    np.testing.assert_allclose(level[seen], turned.cover[0][seen])
    with pytest.raises(ValueError, match="rows from"):
        cut(scene, 40, 0, 24)


def test_a_window_that_is_half_water_is_not_taken_for_swapped_bands() -> None:
    """At a shore the median of one band may fall on the water, that of the next on the land."""
    side = 24
    water = np.zeros((side, side), np.bool_)
    water[: side // 2] = True
    values = np.where(water, 0.03, 0.3)[None, None].repeat(len(S2_BANDS), 1).astype(np.float32)
    names = list(S2_BANDS)
    values[0, names.index("nir"), side // 2] = 0.03  # at 20 m the shore lies a row higher
    one = Stack("sentinel-2", values, tuple(names), ["2021-06-01"], "reflectance")
    assert np.median(values[0, names.index("nir")]) < 0.1 < np.median(values[0, 0]) * 2
    assert one.bands == tuple(names)
    swapped = values.copy()
    swapped[0, names.index("nir08")] *= 0.3
    with pytest.raises(ValueError, match="side by side"):
        Stack("sentinel-2", swapped, tuple(names), ["2021-06-01"], "reflectance")
