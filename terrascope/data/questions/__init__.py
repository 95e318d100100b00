"""Makers of questions: each proposes one about a scene, with its true answer and its masks."""
