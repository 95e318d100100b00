"""What the model is compared with: simpler ways to the same masks and answers, on the same data."""
