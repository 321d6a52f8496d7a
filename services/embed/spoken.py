"""What is said in a clip, and what it is called, as vectors of texts.

Captions are cut into one passage per keyframe: a cue belongs to the keyframe nearest in time, so that what is found by
its words is shown by the picture seen while they are said.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from contracts.errors import Permanent
from services.embed.domain.orders import MAX_SPEECH, SPEECH, TITLE, EmbedOrder, ModelVectors
from services.embed.sentences import load_sentence_model
from services.embed.vectors import packed

if TYPE_CHECKING:
    from services.chassis.desk import Desk


def embed_spoken(order: EmbedOrder, desk: Desk) -> tuple[list[ModelVectors], str]:
    """The vectors of the clip's title with its tags and of its passages; and all that is said, as one text."""
    passages, speech = _passages(order, desk)
    first = order.keyframes[0].frame
    rows = [(TITLE, first, " ".join((order.title.replace("_", " ").replace("-", " "), *order.tags)))]
    rows += [(SPEECH, frame, passage) for frame, passage in sorted(passages.items())]
    model = load_sentence_model()
    vectors = model.embed_texts([passage for _, _, passage in rows])
    frames, parts = tuple(frame for _, frame, _ in rows), tuple(part for part, _, _ in rows)
    return [packed(model, vectors, frames, parts=parts, sees="words")], speech


def _passages(order: EmbedOrder, desk: Desk) -> tuple[dict[int, str], str]:
    from services.media.captions import parse_captions

    said: dict[int, list[str]] = {}
    everything: list[str] = []
    for captions in order.captions:
        try:
            cues = parse_captions(desk.objects.get_bytes(captions.key))
        except Permanent:
            # Captions are an extra, and were judged when the clip was delivered; the picture is found without them.
            continue
        for cue in cues:
            words = " ".join(cue.text.split())
            middle = Fraction(cue.start + cue.end, 2000)
            nearest = min(
                order.keyframes, key=lambda keyframe: (abs((keyframe.time or Fraction(0)) - middle), keyframe.frame)
            )
            said.setdefault(nearest.frame, []).append(words)
            everything.append(words)
    return {frame: " ".join(words) for frame, words in said.items()}, " ".join(everything)[:MAX_SPEECH]
