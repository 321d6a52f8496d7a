"""Fits the coefficients of ``fused`` on generated films and writes them where the detector reads them.

    python -m tests.detection.fit [--films 60] [--asked 20] [--epochs 50]
    python -m tests.detection.fit --without nasa cockatoo        # tells how it does on footage that it has not seen

Films of seeds 1, 2, … are used; the benchmark's held-out seeds begin at 1001. TransNetV2 is asked about the first
``--asked`` of them, and its answers are hidden from the fit now here, now there, so that the network learns both to use
them and to do without. Takes some minutes on one core, most of them TransNetV2's.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from services.scenes.detectors import evidence, network, weighing
from tests.detection.bench import HELD_OUT, compete, table
from tests.detection.footage import shots
from tests.detection.generate import Film, make_film

TARGET = weighing.FILE
MARGIN = evidence.REACH + weighing.REACH
WIDTH = 48
STRETCH = 400


class Fitted(nn.Module):
    """The same arithmetic as ``weighing.weigh``, to be fitted."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.enter = nn.Linear(columns + 3, WIDTH)
        self.taps = nn.Parameter(torch.randn(len(weighing.DILATIONS), 3, WIDTH) * 0.3)
        self.mix = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in weighing.DILATIONS])
        self.leave = nn.Linear(WIDTH, len(weighing.KINDS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.dropout(functional.relu(self.enter(x)), 0.1, self.training)
        for at, dilation in enumerate(weighing.DILATIONS):
            inner = x.shape[1] - 2 * dilation
            mixed = sum(x[:, tap * dilation : tap * dilation + inner] * self.taps[at, tap] for tap in range(3))
            step = functional.dropout(functional.relu(self.mix[at](mixed)), 0.1, self.training)
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


def quiet_films(films: int, origins: frozenset[str] | None) -> list[Film]:
    """Films of long shots, as most are, of very short ones, and of patterns; TransNetV2 is not asked about them."""
    calm = [make_film(300 + seed, 12, origins=origins, longest=400) for seed in range(films // 2)]
    plain = [make_film(500 + seed, footage=patterns(seed), shortest=4) for seed in range(films // 6)]
    hasty = [make_film(700 + seed, 60, origins=origins, shortest=4) for seed in range(films // 6)]
    return calm + plain + hasty


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
            stretch[:, :-3] += 0.05 * torch.randn_like(stretch[:, :-3])
            batch.append(stretch)
            wanted.append(kinds[at][begin : begin + STRETCH])
        answers = model(torch.stack(batch))
        loss = functional.cross_entropy(answers.flatten(0, 1), torch.cat(wanted), weight=weights, label_smoothing=0.02)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        total += loss.item()
        if (step + 1) % (per_epoch * 5) == 0:
            print(f"epoch {(step + 1) // per_epoch}: loss {total / (per_epoch * 5):.4f}", flush=True)
            total = 0.0
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
    parser.add_argument("--asked", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument(
        "--without", nargs="*", default=[], help="origins to leave out, and to judge by; writes nothing"
    )
    parser.add_argument("--target", type=Path, default=TARGET)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    everywhere = frozenset(origin for origin, _ in shots())
    left_out = frozenset(wanted.without)
    origins = everywhere - left_out
    films, told = [], []
    for seed in range(1, wanted.films + 1):
        film = make_film(seed, origins=origins)
        films.append(film)
        if seed <= wanted.asked:
            told.append(np.stack(network.predict(film.frames, range(network.windows_of(len(film.frames))))))
        else:
            told.append(np.full((2, len(film.frames)), -1.0, np.float32))
    for film in quiet_films(wanted.films, origins):
        films.append(film)
        told.append(np.full((2, len(film.frames)), -1.0, np.float32))
    coefficients = fit(films, told, epochs=wanted.epochs)
    how = {"films": wanted.films, "asked": wanted.asked, "epochs": wanted.epochs}
    if not left_out:
        write(wanted.target, coefficients, how)
        return
    with TemporaryDirectory() as folder:
        weighing.FILE = Path(folder) / "fused.json"
        write(weighing.FILE, coefficients, how)
        unseen = (make_film(seed, 20, origins=left_out) for seed in range(HELD_OUT, HELD_OUT + 20))
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
