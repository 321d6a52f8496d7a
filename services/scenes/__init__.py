"""Scenes: finds where shots change and says which frame ranges are the clips of a video."""
