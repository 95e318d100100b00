"""Maps, events, report, STAC items and their publication; the only writer of COGs."""
