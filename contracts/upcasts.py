"""Lifts old versions of events to the newest, step by step, so that consumers know the newest only.

An upcaster is a pure function from version n to version n + 1. A version may be dropped only
when no log that could be replayed still holds it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from contracts.events.base import Event
from contracts.events.v1 import video
from contracts.events.v2 import video as video_v2
from contracts.values import FrameRange, Transition, TransitionKind


def scenes_detected_v2(old: video.VideoScenesDetected) -> video_v2.VideoScenesDetected:
    """Version 1 listed bare cuts: each becomes a certain cut, and the shots between them the clips."""
    cuts = sorted({cut for cut in old.cuts if 0 < cut < old.frames})
    edges = [0, *cuts, old.frames]
    return video_v2.VideoScenesDetected(
        video_id=old.video_id,
        run=old.run,
        detector=video_v2.Detector(name=old.detector, version=old.detector_version),
        frames=old.frames,
        clips=tuple(FrameRange(start=start, end=end) for start, end in pairwise(edges)),
        transitions=tuple(
            Transition(kind=TransitionKind.CUT, frames=FrameRange(start=cut, end=cut + 1), confidence=1.0)
            for cut in cuts
        ),
    )


UPCASTERS: dict[type[Event], Callable[[Any], Event]] = {video.VideoScenesDetected: scenes_detected_v2}


def upcast(event: Event) -> Event:
    """The newest version of an event."""
    while step := UPCASTERS.get(type(event)):
        event = step(event)
    return event
