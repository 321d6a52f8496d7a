"""The OpenAPI document shows an example of every body that is sent and of the answers met most, each valid by its model."""

from __future__ import annotations

import pytest

from services.chassis.runtime import open_runtime
from services.media.profiles import profile_from
from services.review.api import operations, sessions, shapes, typescript, uploads
from services.review.api.application import openapi
from services.review.api.examples import EXAMPLES
from services.review.app import STAGE
from services.review.settings import Settings


@pytest.fixture(scope="module")
def document():
    return openapi(open_runtime(STAGE, Settings()))


def bodies(document):
    for operations_of_path in document["paths"].values():
        for operation in operations_of_path.values():
            for kind, body in operation.get("requestBody", {}).get("content", {}).items():
                schema = body["schema"]
                if kind == "application/json" and "examples" not in schema:
                    reference = schema.get("$ref") or schema["anyOf"][0]["$ref"]
                    yield reference.rpartition("/")[2]


def test_every_body_has_an_example(document):
    named = set(bodies(document))
    assert len(named) > 10
    assert [name for name in named if not document["components"]["schemas"][name].get("examples")] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_valid_by_its_model(name):
    (model,) = {getattr(room, name) for room in (shapes, sessions, operations, uploads) if hasattr(room, name)}
    told = model.model_validate(EXAMPLES[name]).model_dump(mode="json", exclude_unset=True)
    assert told.keys() == EXAMPLES[name].keys()


def test_the_pages_are_checked_against_what_the_service_says():
    assert typescript.TYPES.read_text() == typescript.typescript(), "Run python -m services.review.api.typescript."


def test_the_example_of_a_profile_is_taken(document):
    put = document["paths"]["/api/profiles/{name}"]["put"]["requestBody"]["content"]["application/json"]
    (example,) = put["schema"]["examples"]
    assert profile_from(example, origin="The example").name == example["name"]
