"""A bounding box is taken as it is written, however wide."""

from __future__ import annotations

import pytest

from terrascope.errors import ConfigError
from terrascope.geo.aoi import Aoi


@pytest.mark.parametrize("bbox", [(-180, -10, 179, 10), (-100, -10, 100, 10), (-180, -60, 180, 60)])
def test_wide_boxes_are_not_turned_inside_out(bbox: tuple[float, ...]) -> None:
    assert Aoi.from_bbox(bbox).geometry.bounds == pytest.approx(
        (bbox[0], bbox[1], bbox[2], bbox[3])
    )


def test_a_box_across_the_antimeridian_has_two_halves() -> None:
    aoi = Aoi.from_bbox((178, -20, -178, -10))
    assert [part.bounds for part in aoi.geometry.geoms] == [
        (178, -20, 180, -10),
        (-180, -20, -178, -10),
    ]
    assert aoi.bounds[0] == 178
    assert aoi.bounds[2] == -178


def test_a_box_that_ends_on_the_antimeridian_has_one_part() -> None:
    assert Aoi.from_bbox((170, 0, -180, 5)).geometry.bounds == (170, 0, 180, 5)


def test_east_and_west_swapped_are_a_complaint() -> None:
    with pytest.raises(ConfigError, match="359 degrees wide"):
        Aoi.from_bbox((14, 49, 13, 50))
