"""Makes delivered clips findable: keyframes, their vectors, and search over those."""
