"""TerraScope: watch large areas of the Earth change, with Sentinel-1 and Sentinel-2.

Importing this package costs nothing: everything heavy is imported where it is used.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
