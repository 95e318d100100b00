"""Thin Prefect flows around library calls."""
