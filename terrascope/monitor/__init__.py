"""Where cubes become maps: the screen, its normalisation, and the ground asked for."""
