"""What a run says of its audit."""

from __future__ import annotations

from terrascope.kernels.audit import Stratum, estimate_recall
from terrascope.monitor.reason.dispatch import Audit, audit_text


def said(hits: int) -> str:
    """Half of 3,000 windows were let through, 75 of them with a change; 200 were audited."""
    return audit_text(
        Audit(3000, 1500, 200, 0, estimate_recall(75, [Stratum(1500, 200, hits)])),
    )


def test_a_wide_interval_comes_with_the_size_that_would_do() -> None:
    text = said(10)
    assert "an estimated 50% of the windows" in text
    assert text.endswith("about 252 audited windows would tell it to within 10 points")


def test_a_narrow_one_needs_no_more() -> None:
    assert said(40).endswith("(90 % interval 17% to 24%)")
