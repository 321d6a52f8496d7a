"""Ingest: brings a source video into the store, whole and proven, or says why it cannot."""
