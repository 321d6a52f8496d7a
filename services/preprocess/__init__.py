"""Preprocess: makes what review needs of a source video, then the lossless master that exports are cut from."""
