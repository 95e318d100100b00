"""One run of a monitor, as the steps that a flow calls: search, cube, screen, publish.

`MonitorRun` opens a monitor file without writing anything. Each step can be repeated: what
an earlier attempt committed is found in the store's ledger and not done again.
"""

from terrascope.watch.inquiry import Found
from terrascope.watch.run import MonitorRun
from terrascope.watch.workers import open_executor

__all__ = ["Found", "MonitorRun", "open_executor"]
