"""The screen: a change probability for every pixel, planned per batch of neighbouring tiles."""
