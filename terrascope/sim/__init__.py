"""The scene simulator: one for the demo, the training data, the tests and the bench.

A world is laid out from a seed as a function of ground coordinates; its seasons,
changes, skies and sensors are drawn over it. numpy and scipy only.
"""
