"""Every code under which media is refused or remarked upon, with its cause and what helps: the table behind the docs.

``ERRORS`` stop the work; ``FINDINGS`` are told and let it go on. ``python -m services.media.error_codes`` writes the page;
a test holds page, table and code together, and another provokes every error for real.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Known:
    """One code. ``again`` tells whether the same work may succeed later by itself."""

    code: str
    cause: str
    remedy: str
    again: Literal["never", "later"] = "never"


ERRORS = (
    Known("media.empty_file", "The file holds no byte.", "Transfer or export it again."),
    Known("media.missing", "The file is not there (any more).", "Check the path and submit it again."),
    Known("media.forbidden", "The file may not be read.", "Grant the service read access, then resume the work."),
    Known(
        "media.read_failed",
        "The disk, the network or the store failed while the file was read.",
        "Nothing, as a rule: the work is tried again. If it goes on, look at the disk or the store.",
        "later",
    ),
    Known(
        "media.disk_full",
        "No room was left for what was being made.",
        "Free space, or point HEATERS_TEMP_DIR at a larger disk; the work then goes on by itself.",
        "later",
    ),
    Known(
        "media.out_of_memory",
        "The memory limit was reached.",
        "Give the service more memory, or scale the source down.",
    ),
    Known(
        "media.not_a_video",
        "No container that is read here: text, a playlist, a picture, garbage.",
        "Submit the video itself, as MP4, MOV, Matroska, WebM or MPEG-TS.",
    ),
    Known("media.no_video_stream", "Sound alone, or sound with a cover.", "Submit a file with moving pictures."),
    Known(
        "media.no_audio_stream",
        "The track that was asked for holds no sound that can be read.",
        "Probe the file again; download another format of it.",
    ),
    Known("media.drm", "The streams are encrypted.", "Submit a copy without protection."),
    Known(
        "media.over_limits",
        "The file is sound, but longer or larger than this installation takes.",
        "Cut or scale it, or have the HEATERS_INGEST limits raised.",
    ),
    Known("media.truncated", "The file ends before what it promises.", "Transfer the file again, or export it again."),
    Known(
        "media.corrupt",
        "Bytes within the file are damaged.",
        "Fetch or export the source again; if a player shows it whole, re-wrap it (stream copy to MP4).",
    ),
    Known(
        "media.incomplete",
        "Fewer frames can be decoded than are due.",
        "Fetch or export the source again; for a master or proxy, have the video preprocessed again.",
    ),
    Known(
        "media.duration_lie",
        "The file says another length than its pictures have.",
        "Re-wrap the file (stream copy to MP4), or export it again.",
    ),
    Known(
        "media.index_unreadable",
        "A frame index is damaged, or of another program.",
        "Have the video preprocessed again.",
    ),
    Known(
        "media.codec_unsupported",
        "This build of the codec library has no decoder for the stream.",
        "Convert the source to H.264 or H.265.",
    ),
    Known(
        "media.pixel_format_unsupported",
        "The codec cannot hold such pixels without loss.",
        "Ask for a delivery profile, or request the mastering policy none.",
    ),
    Known(
        "media.pictures_change",
        "Size or pixel format changes within the stream, which one lossless stream cannot hold.",
        "Request the mastering policy none, or convert the source to one size.",
    ),
    Known(
        "media.out_of_range",
        "The clip reaches past the video's last frame.",
        "Trim the clip and approve it again.",
    ),
    Known(
        "media.unknown_encoder_option",
        "The profile says something that its encoder does not know.",
        "Correct the profile; heaters profiles check FILE tells what is wrong.",
    ),
    Known(
        "media.encoder_missing",
        "This build of the codec library lacks the encoder, muxer or option.",
        "Install the pinned version of PyAV, or ask for another profile.",
    ),
    Known(
        "media.encoding_failed",
        "An encoder or muxer refused what it was given.",
        "Check the profile's values; if they are right, report the source's codec, size and rate.",
    ),
    Known(
        "media.disagreement",
        "What was written does not agree with what was meant. It was thrown away.",
        "Resume the work; if it fails again, have the video preprocessed again and report the file.",
    ),
)

FINDINGS = (
    Known("media.timestamps_mended", "Pictures come without a time of their own, or twice at one.", "Usually none."),
    Known("media.timestamp_gap", "No picture comes for a while.", "Look whether the source was recorded so."),
    Known("media.missing_part", "Pictures and sound are missing for a while.", "Fetch the source again."),
    Known("media.damaged_packets", "Packets of the pictures are damaged.", "Fetch the source again."),
    Known("media.undecodable_start", "Pictures precede the first key picture.", "Cut the source at a key picture."),
    Known("media.audio_empty", "There is a sound track without sound.", "Usually none; fetch another format."),
    Known("media.audio_drift", "Sound and pictures run apart.", "Fetch or export the source again."),
    Known("media.audio_unreadable", "Not one sample of the sound could be decoded.", "Convert the sound to AAC."),
    Known("media.audio_damaged", "Packets of the sound could not be decoded; they are silent.", "Fetch it again."),
    Known("media.audio_changes", "The sound changes its rate, layout or format; it was converted.", "Usually none."),
    Known("media.video_track_chosen", "Several tracks of pictures; one of them was taken.", "Usually none."),
    Known("media.audio_track_chosen", "Several tracks of sound; one of them was taken.", "Usually none."),
    Known("media.streams_apart", "Pictures and sound were downloaded with different lengths.", "Fetch them again."),
)


def page() -> str:
    """The documentation's page, in Markdown."""
    lines = [
        "# Errors of media",
        "",
        "Every refusal carries one of these codes, a sentence that says what to do, and never a number of the codec",
        "library. Made by `python -m services.media.error_codes`.",
        "",
        "| code | cause | what helps | tried again |",
        "|---|---|---|---|",
        *(
            f"| `{each.code}` | {each.cause} | {each.remedy} | {'by itself' if each.again == 'later' else 'no'} |"
            for each in ERRORS
        ),
        "",
        "These are findings: they are told, and the work goes on unless the rules of ingest refuse the download for them.",
        "",
        "| code | what was found | what helps |",
        "|---|---|---|",
        *(f"| `{each.code}` | {each.cause} | {each.remedy} |" for each in FINDINGS),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
