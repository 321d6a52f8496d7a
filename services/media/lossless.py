"""Which pixel format keeps the samples of another exactly, where the lossless codec does not take that one itself."""

from __future__ import annotations

import av

from services.media.errors import UnsupportedPixels

_SAME_SAMPLES = {
    "yuvj420p": "yuv420p",
    "yuvj422p": "yuv422p",
    "yuvj444p": "yuv444p",
    "yuvj440p": "yuv440p",
    "yuvj411p": "yuv411p",
    "nv12": "yuv420p",
    "nv21": "yuv420p",
    "nv16": "yuv422p",
    "nv24": "yuv444p",
    "p010le": "yuv420p10le",
    "p012le": "yuv420p12le",
    "p016le": "yuv420p16le",
    "p210le": "yuv422p10le",
    "p410le": "yuv444p10le",
    "yuyv422": "yuv422p",
    "uyvy422": "yuv422p",
    "rgb24": "bgr0",
    "bgr24": "bgr0",
    "rgb0": "bgr0",
    "0rgb": "bgr0",
    "0bgr": "bgr0",
    "rgba": "bgra",
    "argb": "bgra",
    "abgr": "bgra",
    "gbrp": "bgr0",
    "gbrap": "bgra",
    "pal8": "bgra",
}
"""Formats that FFV1 does not take, and one that holds exactly their samples."""


def lossless_format(pixel_format: str) -> str:
    """The format in which FFV1 keeps pictures of this one: itself, or one that holds exactly its samples.

    Raises:
        UnsupportedPixels: there is none.
    """
    offered = {form.name for form in av.Codec("ffv1", "w").video_formats or ()}
    if pixel_format in offered:
        return pixel_format
    same = _SAME_SAMPLES.get(pixel_format)
    if same is None or same not in offered:
        raise UnsupportedPixels(
            f"Pictures of the format {pixel_format} cannot be kept without loss. Request the video with the mastering "
            "policy none and a delivery profile, or convert it to a usual format first."
        )
    return same
