"""A process that turns single frames of an all-intra proxy into JPEGs: ``python -m services.media.still``.

It reads requests from its standard input and answers on its standard output, one after the other, each a length (u32,
big-endian) and that many bytes: a JSON line and the frame's packet in, ``J`` and the JPEG or ``E`` and a sentence out.
A frame needs no other frame, so the answer is exact; a packet that kills the process harms nobody else. It ends with its
standard input, and its memory is bounded.
"""

from __future__ import annotations

import base64
import json
import resource
import struct
import sys
from typing import BinaryIO

import av
import numpy as np

from services.media.containers import packet_of
from services.media.pictures import jpeg

LENGTH = struct.Struct(">I")
MEMORY = 1_500_000_000
"""Bytes of address space."""
QUALITY = 80


def still(packet: bytes, *, codec: str, extradata: bytes, height: int | None) -> bytes:
    """The packet's one frame as a JPEG, shrunk to ``height`` lines where that is less. Raises ``ValueError``."""
    context = av.CodecContext.create(codec, "r")
    if not isinstance(context, av.VideoCodecContext):
        message = f"{codec} is no codec of pictures"
        raise ValueError(message)  # noqa: TRY004 - what is wrong is the order, not our code.
    context.extradata = extradata
    context.thread_count = 1
    try:
        frames = [*context.decode(packet_of(packet)), *context.decode(None)]
    except av.FFmpegError as error:
        raise ValueError("the frame's bytes do not decode") from error
    if len(frames) != 1:
        message = f"the packet holds {len(frames)} frames"
        raise ValueError(message)
    frame = frames[0]
    if height is not None and height < frame.height:
        frame = frame.reformat(width=max(2, round(frame.width * height / frame.height)), height=height)
    return jpeg(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8), QUALITY)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers until the requests end."""
    while len(head := requests.read(LENGTH.size)) == LENGTH.size:
        order, _, packet = requests.read(LENGTH.unpack(head)[0]).partition(b"\n")
        asked = json.loads(order)
        try:
            answer = b"J" + still(
                packet,
                codec=asked["codec"],
                extradata=base64.b64decode(asked["extradata"]),
                height=asked["height"],
            )
        except ValueError as error:
            answer = b"E" + str(error).encode()
        answers.write(LENGTH.pack(len(answer)) + answer)
        answers.flush()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve(sys.stdin.buffer, sys.stdout.buffer)
