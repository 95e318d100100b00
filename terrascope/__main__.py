"""``python -m terrascope``."""

from terrascope.cli import main

main()
