"""What can be wrong with a media file, as stable codes with the cause and a remedy.

No library number ever reaches a person: ``translated`` wraps every use of the codec library and turns its errors into
the classes below. All of them are permanent but two: a full disk and a failed read may be better next time.
"""
# ruff: noqa: N818 - each is named for what is wrong.

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import av
from av.codec.codec import UnknownCodecError

from contracts.errors import HeatersError, Permanent, Transient


class MediaError(Permanent):
    """Something is wrong with the media itself: another try gives the same answer."""

    code = "media.error"


class EmptyFile(MediaError):
    """The file holds no byte."""

    code = "media.empty_file"


class NotAVideo(MediaError):
    """No container that the house reads."""

    code = "media.not_a_video"


class NoVideoStream(MediaError):
    """A media file without moving pictures: audio alone, or audio with a cover."""

    code = "media.no_video_stream"


class Truncated(MediaError):
    """The file ends before what it promises."""

    code = "media.truncated"


class Corrupt(MediaError):
    """Bytes inside the file are damaged."""

    code = "media.corrupt"


class Incomplete(MediaError):
    """Fewer frames decode than the file holds packets for."""

    code = "media.incomplete"


class DurationLie(MediaError):
    """The header's duration is far from what the file holds."""

    code = "media.duration_lie"


class Encrypted(MediaError):
    """The streams are encrypted (DRM)."""

    code = "media.drm"


class OverLimits(MediaError):
    """The file is sound, but larger or longer than this installation takes."""

    code = "media.over_limits"


class UnsupportedCodec(MediaError):
    """No decoder for the stream in this build."""

    code = "media.codec_unsupported"


class UnsupportedPixels(MediaError):
    """A pixel format that the lossless codec cannot hold without loss."""

    code = "media.pixel_format_unsupported"


class PicturesChange(MediaError):
    """Size or pixel format changes inside one stream, which one lossless stream cannot hold."""

    code = "media.pictures_change"


class EncodingFailed(MediaError):
    """An encoder or muxer refused what it was given."""

    code = "media.encoding_failed"


class Disagreement(MediaError):
    """What was written does not agree with what was meant: it is thrown away rather than published."""

    code = "media.disagreement"


class DiskFull(Transient):
    """No room for what is being made."""

    code = "media.disk_full"


class ReadFailed(Transient):
    """The bytes could not be read; the file itself may be sound."""

    code = "media.read_failed"


_DAMAGE = "Fetch or export the source again; if a player shows it whole, re-wrap it (stream copy to MP4) and retry."


def explained(error: av.FFmpegError | OSError | MemoryError | ValueError, doing: str) -> HeatersError:
    """The error as one of the house's, saying what was being done (``doing``: "reading clip.mp4") and what helps."""
    number = getattr(error, "errno", None)
    if number in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return DiskFull(f"The disk filled up while {doing}. Free some space; the work then goes on by itself.")
    if isinstance(error, (MemoryError, av.error.MemoryError)):
        return MediaError(
            f"The memory limit was reached while {doing}. Raise the job's memory limit or scale the source down.",
            code="media.out_of_memory",
        )
    if isinstance(error, av.error.InvalidDataError):
        return Corrupt(f"Damaged data was met while {doing}. {_DAMAGE}")
    if isinstance(error, av.error.EOFError):
        return Truncated(f"The data ended early while {doing}. {_DAMAGE}")
    if isinstance(error, (av.error.DecoderNotFoundError, av.error.PatchWelcomeError)):
        return UnsupportedCodec(
            f"No decoder here understands the stream ({doing}). Convert it to H.264 or H.265 first."
        )
    missing = (av.error.EncoderNotFoundError, av.error.OptionNotFoundError, av.error.MuxerNotFoundError)
    if isinstance(error, (UnknownCodecError, *missing)):
        return EncodingFailed(
            f"This build of the codec library lacks what is needed for {doing}. Install the pinned version of PyAV.",
            code="media.encoder_missing",
        )
    if isinstance(error, FileNotFoundError):
        return MediaError(f"A file vanished while {doing}. Check the path and submit it again.", code="media.missing")
    if isinstance(error, PermissionError):
        return MediaError(f"A file may not be read ({doing}). Grant read access and retry.", code="media.forbidden")
    if isinstance(error, OSError):
        return ReadFailed(f"Reading failed while {doing} ({error.strerror or 'input/output error'}). Try again.")
    return EncodingFailed(f"The codec library refused its input while {doing} ({_reason(error)}). {_DAMAGE}")


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error).split(":")[0].lower() or "no reason given"


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turns what PyAV and the file system raise inside the block into the errors above; others pass unchanged."""
    try:
        yield
    except HeatersError:
        raise
    except (av.FFmpegError, OSError, MemoryError, UnknownCodecError) as error:
        raise explained(error, doing) from error
