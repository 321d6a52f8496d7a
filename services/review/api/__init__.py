"""The review service over HTTP: what there is, what people decide, and a live stream of what happens."""

from services.review.api.application import create_api

__all__ = ["create_api"]
