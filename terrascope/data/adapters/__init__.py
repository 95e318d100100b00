"""Scenes from real rasters."""
