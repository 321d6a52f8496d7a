"""Fits the coefficients of ``fused`` on generated films and writes them where the detector reads them.

    python -m tests.detection.fit [--films 60] [--asked 12] [--epochs 40]
    python -m tests.detection.fit --without nasa cockatoo        # tells how it does on footage that it has not seen

The committed file is what the first line writes: everything is seeded and computed by one thread, so that a processor with
the same instructions writes the same bytes. Films of seeds 1, 2, … are made of the footage to fit on; the benchmark's have
other footage and other seeds. In some, things cross the picture and the camera jolts: no change of shot. TransNetV2 is asked about the first
``--asked`` of them, and its answers are hidden from the fit now here, now there, so that the network learns both to use
them and to do without. Takes a quarter of an hour on one core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from services.scenes.detectors import evidence, network, weighing
from tests.detection import footage
from tests.detection.bench import FIRST_SEED, compete, table
from tests.detection.generate import HEIGHT, WIDTH, Film, make_film

TARGET = weighing.FILE
MARGIN = evidence.REACH + weighing.REACH
BREADTH = 48
STRETCH = 400
DROPPED, NOISE, KEPT = 0.15, 0.1, 0.98
"""Share of activations dropped, noise on the evidence, and how much of their running mean the coefficients keep at a step."""


class Fitted(nn.Module):
    """The same arithmetic as ``weighing.weigh``, to be fitted."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.enter = nn.Linear(columns + 3, BREADTH)
        self.taps = nn.Parameter(torch.randn(len(weighing.DILATIONS), 3, BREADTH) * 0.3)
        self.mix = nn.ModuleList([nn.Linear(BREADTH, BREADTH) for _ in weighing.DILATIONS])
        self.leave = nn.Linear(BREADTH, len(weighing.KINDS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.dropout(functional.relu(self.enter(x)), DROPPED, self.training)
        for at, dilation in enumerate(weighing.DILATIONS):
            inner = x.shape[1] - 2 * dilation
            mixed = sum(x[:, tap * dilation : tap * dilation + inner] * self.taps[at, tap] for tap in range(3))
            step = functional.dropout(functional.relu(self.mix[at](mixed)), DROPPED, self.training)
            x = x[:, dilation : dilation + inner] + step
        return self.leave(x)


def patterns(seed: int) -> list[np.ndarray]:
    """Coloured blocks, still or drifting: the plainest footage, such as tests and title cards are made of."""
    rng = np.random.default_rng([7, seed])
    made = []
    for _ in range(8):
        cell = int(rng.choice([rng.integers(6, 20), rng.integers(20, 60), 160], p=[0.6, 0.2, 0.2]))
        lit = rng.uniform(0.25, 1)
        blocks = rng.integers(0, 256, (90 // cell + 1, 160 // cell + 1, 3)) * lit
        picture = np.kron(blocks, np.ones((cell, cell, 1)))[:90, :160].astype(np.uint8)
        motion = int(rng.choice([0, 0, 1, 3, 7]))
        made.append(np.stack([np.roll(picture, at * motion, axis=1) for at in range(60)]))
    return made


def quiet_films(films: int, seen: Sequence[np.ndarray]) -> list[Film]:
    """Films of long shots, as most are, of very short ones, and of patterns; TransNetV2 is not asked about them."""
    calm = [make_film(300 + seed, 12, footage=seen, longest=400) for seed in range(films // 2)]
    plain = [make_film(500 + seed, footage=patterns(seed), shortest=4) for seed in range(films // 6)]
    hasty = [make_film(700 + seed, 60, footage=seen, shortest=4) for seed in range(films // 6)]
    hastier = [make_film(800 + seed, 60, footage=seen, shortest=4, longest=30) for seed in range(films // 5)]
    return calm + plain + hasty + hastier


def crossed(film: Film, seed: int, seen: Sequence[np.ndarray], times: int = 12) -> Film:
    """The film with things that cross the picture: of any size up to more than it, from any side, sharp or blurred."""
    rng = np.random.default_rng([11, seed])
    frames = film.frames.copy()
    for _ in range(times):
        over = int(rng.integers(3, 26))
        at = _unchanged(film, over, rng)
        pictures = seen[int(rng.integers(len(seen)))]
        down = rng.random() < 0.25
        size = int(rng.integers(6, int(1.6 * (HEIGHT if down else WIDTH))))
        shape = (size, WIDTH) if down else (HEIGHT, size)
        thing = cv2.resize(
            pictures[int(rng.integers(len(pictures)))], (shape[1], shape[0]), interpolation=cv2.INTER_AREA
        )
        thing = cv2.blur(thing, (5, 5)) if rng.random() < 0.5 else thing
        solid = np.full(shape, 1.0, np.float32)
        if rng.random() < 0.5:
            # A part of the height, as people and cars have.
            free = int(rng.integers(0, shape[1 if down else 0] // 2 + 1))
            solid[:, :free] = 0 if down else solid[:, :free]
            solid[:free] = solid[:free] if down else 0
        soft = int(rng.choice([1, 1, 3, 7]))
        solid = cv2.blur(np.pad(solid, 8), (soft, soft))[8:-8, 8:-8, None]
        light, back = rng.uniform(0.1, 1.2), rng.random() < 0.5
        if at is None:
            continue
        for step in range(over):
            share = (step + 0.5) / over
            _paste(frames[at + step], thing * light, solid, (1 - share if back else share), down=down)
    return Film(frames, film.labels, film.decoys)


def troubled(film: Film, seed: int, seen: Sequence[np.ndarray]) -> Film:
    """Of four films one stays as it is, one is crossed, one jolted and one both."""
    film = crossed(film, seed, seen) if seed % 2 else film
    return jolted(film, seed) if seed % 4 > 1 else film


def _paste(picture: np.ndarray, thing: np.ndarray, solid: np.ndarray, share: float, *, down: bool) -> None:
    axis = 0 if down else 1
    length, size = picture.shape[axis], thing.shape[axis]
    place = round(-size + share * (length + size))
    first, last = max(place, 0), min(place + size, length)
    if last <= first:
        return
    there = (slice(first, last),) if down else (slice(None), slice(first, last))
    part = (slice(first - place, last - place),) if down else (slice(None), slice(first - place, last - place))
    mixed = picture[there] * (1 - solid[part]) + thing[part] * solid[part]
    picture[there] = np.clip(np.rint(mixed), 0, 255)


def jolted(film: Film, seed: int, times: int = 8) -> Film:
    """The film with sudden swings and zooms of the camera."""
    rng = np.random.default_rng([13, seed])
    frames = film.frames.copy()
    for _ in range(times):
        over = int(rng.integers(4, 24))
        at = _unchanged(film, over, rng)
        swing = rng.normal(0, 1, 2) * (16, 9) * rng.uniform(0.3, 1)
        zoom = rng.uniform(-0.35, 0.6) * (rng.random() < 0.6)
        if at is None:
            continue
        for step in range(over):
            far = np.sin(np.pi * (step + 1) / (over + 1))
            size = 1 / (1 + zoom * far)
            window = np.array(
                [
                    [size, 0, WIDTH / 2 * (1 - size) + swing[0] * far],
                    [0, size, HEIGHT / 2 * (1 - size) + swing[1] * far],
                ]
            )
            frames[at + step] = cv2.warpAffine(
                frames[at + step],
                window,
                (WIDTH, HEIGHT),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REFLECT,
            )
    return Film(frames, film.labels, film.decoys)


def _unchanged(film: Film, over: int, rng: np.random.Generator) -> int | None:
    """Where so many frames on end are free of any change of shot, if a few tries find a place."""
    for _ in range(20):
        at = int(rng.integers(3, max(4, len(film.frames) - over - 3)))
        if all(each.end + 2 <= at or each.start - 2 >= at + over for each in film.labels):
            return at
    return None


def rows_of(film: Film) -> tuple[np.ndarray, np.ndarray]:
    """Evidence of every frame, padded as the detector pads it, and the class of every frame."""
    around = np.clip(np.arange(-MARGIN, len(film.frames) + MARGIN), 0, len(film.frames) - 1)
    kinds = np.zeros(len(film.frames), np.int64)
    for label in film.labels:
        kinds[label.start : label.end] = weighing.KINDS.index(label.kind)
    return evidence.measure(film.frames[around]), kinds


def fit(films: list[Film], told: list[np.ndarray], *, epochs: int, seed: int = 5) -> dict[str, object]:
    """Coefficients fitted on those films; ``told`` is what the model says of each, -1 where it was not asked."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    made = [rows_of(film) for film in films]
    rows = np.concatenate([each for each, _ in made])
    mean, deviation = rows.mean(axis=0), rows.std(axis=0) + 1e-3
    inputs = []
    for (own, _), said in zip(made, told, strict=True):
        answers = np.pad(said, ((0, 0), (weighing.REACH, weighing.REACH)), mode="edge")
        seen = np.clip((own - mean) / deviation, -weighing.LIMIT, weighing.LIMIT)
        inputs.append(torch.from_numpy(np.concatenate([seen, weighing.tell(*answers)], axis=1).astype(np.float32)))
    kinds = [torch.from_numpy(each) for _, each in made]
    model = Fitted(rows.shape[1])
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02)
    per_epoch = max(1, sum(len(each) for each in kinds) // (16 * STRETCH))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=epochs * per_epoch)
    weights = torch.tensor([1.0, 1.5, 1.0, 1.0, 1.2])
    model.train()
    settled = {name: values.clone() for name, values in model.state_dict().items()}
    total = 0.0
    for step in range(epochs * per_epoch):
        batch, wanted = [], []
        for _ in range(16):
            at = int(rng.integers(len(inputs)))
            # The ends of films are looked at more often than they would be by chance.
            latest = len(kinds[at]) - STRETCH
            begin = int(rng.choice([rng.integers(latest + 1), 0, latest], p=[0.7, 0.1, 0.2]))
            stretch = inputs[at][begin : begin + STRETCH + 2 * weighing.REACH].clone()
            # The model's answers come by windows of 50 frames; here they are all there, there some, there none.
            asked = rng.choice([0.0, 0.3, 1.0], p=[0.5, 0.25, 0.25])
            phase = int(rng.integers(50))
            windows = rng.random(len(stretch) // 50 + 2) < asked
            stretch[:, -3:] *= torch.from_numpy(windows[(np.arange(len(stretch)) + phase) // 50].astype(np.float32))[
                :, None
            ]
            stretch[:, :-3] += NOISE * torch.randn_like(stretch[:, :-3])
            batch.append(stretch)
            wanted.append(kinds[at][begin : begin + STRETCH])
        answers = model(torch.stack(batch))
        loss = functional.cross_entropy(answers.flatten(0, 1), torch.cat(wanted), weight=weights, label_smoothing=0.02)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            for name, values in model.state_dict().items():
                settled[name].lerp_(values, 1 - KEPT)
        total += loss.item()
        if (step + 1) % (per_epoch * 5) == 0:
            print(f"epoch {(step + 1) // per_epoch}: loss {total / (per_epoch * 5):.4f}", flush=True)
            total = 0.0
    model.load_state_dict(settled)
    return {
        "mean": _rounded(mean),
        "deviation": _rounded(deviation),
        "enter": _rounded(model.enter.weight.T),
        "enter_bias": _rounded(model.enter.bias),
        "taps": _rounded(model.taps),
        "mix": [_rounded(each.weight.T) for each in model.mix],
        "mix_bias": [_rounded(each.bias) for each in model.mix],
        "leave": _rounded(model.leave.weight.T),
        "leave_bias": _rounded(model.leave.bias),
    }


def _rounded(values: torch.Tensor | np.ndarray) -> list[object]:
    array = values.detach().numpy() if isinstance(values, torch.Tensor) else values
    return np.round(array.astype(np.float64), 3).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=60)
    parser.add_argument("--asked", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument(
        "--without", nargs="*", default=[], help="origins to leave out, and to judge by; writes nothing"
    )
    parser.add_argument("--target", type=Path, default=TARGET)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    left_out = frozenset(wanted.without)
    seen = footage.to_fit(left_out)
    films, told = [], []
    for seed in range(1, wanted.films + 1):
        film = troubled(make_film(seed, footage=seen), seed, seen)
        films.append(film)
        if seed <= wanted.asked:
            told.append(np.stack(network.predict(film.frames, range(network.windows_of(len(film.frames))))))
        else:
            told.append(np.full((2, len(film.frames)), -1.0, np.float32))
    for seed, film in enumerate(quiet_films(wanted.films, seen), wanted.films + 1):
        films.append(troubled(film, seed, seen))
        told.append(np.full((2, len(film.frames)), -1.0, np.float32))
    coefficients = fit(films, told, epochs=wanted.epochs)
    how = {"films": wanted.films, "asked": wanted.asked, "epochs": wanted.epochs}
    if not left_out:
        write(wanted.target, coefficients, how)
        return
    with TemporaryDirectory() as folder:
        weighing.FILE = Path(folder) / "fused.json"
        write(weighing.FILE, coefficients, how)
        unseen = (
            make_film(seed, 20, footage=footage.held_out(*left_out)) for seed in range(FIRST_SEED, FIRST_SEED + 20)
        )
        names = ["fused", "adaptive", "PySceneDetect adaptive", "PySceneDetect content"]
        print(table(*compete(unseen, names)))


def write(target: Path, coefficients: dict[str, object], how: dict[str, object]) -> None:
    """The file, one coefficient array on a line."""
    lines = ",\n".join(
        f'  "{name}": {json.dumps(values, separators=(",", ":"))}' for name, values in coefficients.items()
    )
    target.write_text(f'{{"fitted_on": {json.dumps(how)},\n "coefficients": {{\n{lines}\n}}}}\n')


if __name__ == "__main__":
    main()
