"""Array maths on numpy and scipy alone: no files, no grids, no cluster."""
