"""Tries a profile out: a few made-up frames and samples are rendered with it, in a process of their own.

A document may say what its encoder does not take (a preset by a wrong name, a level that the size breaks). Only the
encoder knows; so it is asked before the profile is kept, not when somebody's clip waits. The document comes on standard
input, and one JSON object goes to standard output: nothing in it, or ``code`` and ``message``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.errors import HeatersError, Permanent
from contracts.values import FrameRange
from services.media.profiles import Profile, read_profile

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.video.frame import VideoFrame

FRAMES = 6
RATE = 25
PATIENCE = 60.0
"""Seconds after which an encoder that does not answer counts as refusing."""


def try_profile(profile: Profile) -> None:
    """Renders with the profile in a process of its own.

    Raises:
        Permanent: ``profile.refused_by_encoder``, with the encoder's reason.
    """
    command = [sys.executable, "-m", "services.media.trial"]
    try:
        result = subprocess.run(
            command,
            input=json.dumps(profile.document()).encode(),
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            cwd=Path(__file__).parents[2],
        )
        said: dict[str, Any] = json.loads(result.stdout or b"null") or {}
        failed = bool(said) or result.returncode != 0
    except (subprocess.TimeoutExpired, ValueError):
        said, failed = {}, True
    if failed:
        raise Permanent(
            f"{profile.label} cannot be encoded with: {said.get('message', 'the encoder gave no answer.')} Correct the "
            "document.",
            code="profile.refused_by_encoder",
        )


class _Pictures:
    """Frames of one size whose brightness moves."""

    def frames(self, wanted: FrameRange) -> Iterator[tuple[int, VideoFrame]]:
        """``(number, frame)`` for every frame of the range."""
        import numpy as np
        from av.video.frame import VideoFrame

        for number in range(wanted.start, wanted.end):
            ramp = np.linspace(16 + 8 * number, 200, 192)
            yield (
                number,
                VideoFrame.from_ndarray(np.tile(ramp.astype(np.uint8), (144, 1)), format="gray").reformat(
                    format="yuv420p"
                ),
            )

    def close(self) -> None:
        """There is no decoder."""


class _Tone:
    """A quiet tone in stereo."""

    holes: tuple[tuple[Fraction, Fraction], ...] = ()

    def samples(self, start: Fraction, end: Fraction) -> Iterator[AudioFrame]:
        """The samples of ``[start, end)``."""
        import numpy as np
        from av.audio.frame import AudioFrame

        count = int((end - start) * 48_000)
        wave = 0.1 * np.sin(2 * np.pi * 440 * np.arange(count) / 48_000)
        frame = AudioFrame.from_ndarray(np.tile(wave.astype(np.float32), (2, 1)), format="fltp", layout="stereo")
        frame.sample_rate = 48_000
        yield frame


def _render(profile: Profile, folder: Path) -> HeatersError | None:
    from services.media.footage import Footage
    from services.media.render import Cut, render

    footage = Footage(
        pictures=_Pictures(),
        sounds=_Tone,
        frames=FRAMES,
        time_of=lambda number: Fraction(number, RATE),
        timebase=Fraction(1, 90_000),
        rate=Fraction(RATE),
    )
    cut = Cut(FrameRange(start=0, end=FRAMES), (profile,), folder, "trial", "Trial")
    ((_, outcome),) = render(footage, [cut])
    return outcome if isinstance(outcome, HeatersError) else None


def main() -> int:
    """The process's entry."""
    said: dict[str, str] = {}
    try:
        profile = read_profile(sys.stdin.buffer.read(), origin="The document", form="json")
        with tempfile.TemporaryDirectory() as folder:
            error = _render(profile, Path(folder))
    except HeatersError as caught:
        error = caught
    if error is not None:
        said = {"code": error.code, "message": error.message}
    sys.stdout.write(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
