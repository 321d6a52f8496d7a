"""Event bodies, one package per version and one module per aggregate."""
