"""From scenes to a cube: planned as a value, composited in blocks, committed in batches."""
