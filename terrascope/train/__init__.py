"""Training: recipes, one loop, checkpoints, adapters for the large model."""
