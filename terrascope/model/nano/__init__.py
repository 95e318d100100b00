"""The nano backbone: small enough to train on two processor cores and to ship in the package."""
