from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from contracts.events.v1.ingest import IngestRequested
from contracts.values import ObjectSource, UploadSource, UrlSource
from services.ingest.domain import (
    chosen_languages,
    extension_of,
    file_name_of,
    provisional_title,
    tidy_language,
    video_id_of,
)


@pytest.mark.parametrize(
    ("source", "title"),
    [
        (UrlSource(url="https://example.org/films/My%20Film.mp4?x=1"), "My Film"),
        (UrlSource(url="https://example.org/watch/?v=3"), "watch"),
        (UrlSource(url="https://example.org/"), "example.org"),
        (UrlSource(url="https://example.org"), "example.org"),
        (ObjectSource(key="uploads/abc/holiday.MOV"), "holiday"),
        (ObjectSource(key="uploads/abc/x", name="C:\\clips\\a.b.mkv"), "a.b"),
        (ObjectSource(key="k/.mp4"), ".mp4"),
        (ObjectSource(key="k/a\x00b\n c.mp4"), "a b c"),
        (UploadSource(upload_id=uuid4()), "Untitled"),
        (UrlSource(url="https://example.org/" + "a" * 900), "a" * 500),
    ],
)
def test_a_source_gives_a_title(source, title):
    assert provisional_title(IngestRequested(source=source)) == title


def test_the_requesters_title_comes_first():
    request = IngestRequested(source=ObjectSource(key="k/x.mp4"), title="Mine")
    assert provisional_title(request) == "Mine"


def test_equal_keys_are_one_video_and_without_a_key_each_event_is_its_own():
    source = ObjectSource(key="k/x.mp4")
    one, other = UUID(int=1), UUID(int=2)
    keyed = IngestRequested(source=source, idempotency_key="k")
    assert video_id_of(keyed, one) == video_id_of(keyed, other)
    bare = IngestRequested(source=source)
    assert video_id_of(bare, one) != video_id_of(bare, other)
    assert video_id_of(bare, one) == video_id_of(bare, one)


@pytest.mark.parametrize(
    ("name", "container", "ending"),
    [
        ("a.MP4", "matroska,webm", "mp4"),
        ("a", "mov,mp4,m4a,3gp,3g2,mj2", "mp4"),
        ("a.txt", "matroska,webm", "mkv"),
        ("a.exe", "mpegts", "ts"),
        ("a", "strange", "bin"),
    ],
)
def test_a_file_is_stored_under_a_known_ending(name, container, ending):
    assert extension_of(name, container) == ending


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("uploads/abc/my film.mp4", "my film.mp4"),
        ("../../etc/passwd", "passwd"),
        ("..", "source"),
        ("a/b\\c:d.mp4", "c_d.mp4"),
        ("x" * 300 + ".mp4", "x" * 60 + ".mp4"),
    ],
)
def test_file_names_are_safe(name, safe):
    assert file_name_of(name) == safe


@pytest.mark.parametrize(("text", "language"), [("eng", "eng"), ("", "und"), ("pt_BR", "pt-BR"), ("??", "und")])
def test_languages_are_spelt_as_contracts_want(text, language):
    assert tidy_language(text) == language


@pytest.mark.parametrize(
    ("requested", "manual", "automatic", "spoken", "chosen"),
    [
        ((), ["en", "de"], ["fr"], "en", [("en", False), ("de", False)]),
        ((), [], ["de", "en-orig", "en"], "en", [("en-orig", True)]),
        ((), [], ["de", "en"], "en", [("en", True)]),
        ((), [], ["de", "en"], None, []),
        (("en",), ["de"], ["en"], None, [("en", True)]),
        (("en",), ["en-GB"], ["en"], None, [("en-GB", False)]),
        (("en", "fr"), ["en"], [], None, [("en", False)]),
        (("DE", "de"), ["de"], [], None, [("de", False)]),
    ],
)
def test_caption_tracks_are_chosen(requested, manual, automatic, spoken, chosen):
    assert chosen_languages(requested, manual, automatic, spoken) == chosen
