"""Shot detectors, one module each; ``declared`` lists them without importing any of them."""
