"""Areas of interest, the tile grid, zones and footprints: geometry only, never pixels."""
