"""Videos for whole-stack tests: small ones beside the tests, larger ones made from them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from uuid import uuid4

FIXTURES = Path(__file__).parents[1] / "fixtures"
SHORT_VIDEO = FIXTURES / "bbb_vp9_opus.webm"
"""Ten seconds, two hundred and forty frames."""


def unique(path: Path, folder: Path) -> Path:
    """A copy of an MP4 with other bytes and the same pictures, for stacks that know the file already."""
    target = folder / f"{uuid4().hex[:8]}-{path.name}"
    # A box of type "free" holds nothing; players and demuxers pass over it.
    target.write_bytes(path.read_bytes() + (24).to_bytes(4, "big") + b"free" + uuid4().bytes)
    return target


def thirty_seconds(folder: Path) -> Path:
    """The short video three times in a row, re-encoded: cuts, sound and pictures that differ."""
    import av

    target = folder / "thirty-seconds.mp4"
    with av.open(str(target), "w", options={"fflags": "bitexact"}) as out:
        video = out.add_stream("libx264", rate=24, options={"preset": "veryfast", "crf": "23", "threads": "1"})
        sound = out.add_stream("aac", rate=48_000, layout="stereo")
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=48_000, frame_size=1024)
        video.codec_context.time_base = Fraction(1, 24)
        video.width, video.height, video.pix_fmt = 640, 360, "yuv420p"
        frames = samples = 0
        for _ in range(3):
            with av.open(str(SHORT_VIDEO)) as source:
                for frame in source.decode(source.streams.video[0], source.streams.audio[0]):
                    if isinstance(frame, av.VideoFrame):
                        picture = frame.reformat(format="yuv420p")
                        picture.pts, picture.time_base = frames, Fraction(1, 24)
                        frames += 1
                        out.mux(video.encode(picture))
                    else:
                        for piece in resampler.resample(frame):
                            piece.pts, piece.sample_rate = samples, 48_000
                            samples += piece.samples
                            out.mux(sound.encode(piece))
        out.mux(video.encode(None))
        out.mux(sound.encode(None))
    return target
