from __future__ import annotations

import os

import pytest

from tests.support.servers import Broker, Servers, own_broker


@pytest.fixture(scope="session")
def servers() -> Servers:
    return Servers(
        database_url=os.environ["HEATERS_DATABASE_URL"],
        s3_endpoint=os.environ["HEATERS_S3_ENDPOINT"],
        s3_access_key=os.environ["HEATERS_S3_ACCESS_KEY"],
        s3_secret_key=os.environ["HEATERS_S3_SECRET_KEY"],
    )


@pytest.fixture
def broker() -> Broker:
    with own_broker() as broker:
        yield broker
