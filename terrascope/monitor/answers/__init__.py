"""Questions about a region: what they mean, which figures they need, and those figures."""
