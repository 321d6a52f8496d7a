"""Creates the bucket when it is not there: a short job of the embedded stack. Safe to repeat."""

from __future__ import annotations

import sys

import boto3
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError

from services.chassis.settings import ChassisSettings, load

ALREADY_THERE = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}


def ensure_bucket(settings: ChassisSettings) -> None:
    """Makes sure that the one bucket exists. Raises ``ClientError`` when the store refuses."""
    client = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key.get_secret_value(),
        aws_secret_access_key=settings.s3_secret_key.get_secret_value(),
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    try:
        client.head_bucket(Bucket=settings.s3_bucket)
    except ClientError as missing:
        if missing.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        try:
            client.create_bucket(Bucket=settings.s3_bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ALREADY_THERE:
                raise


def main() -> int:
    """The job's command line."""
    settings = load(ChassisSettings)
    try:
        ensure_bucket(settings)
    except (ClientError, BotoCoreError) as error:
        print(
            f"bucket: {settings.s3_endpoint} does not give the bucket {settings.s3_bucket}: {error}; check HEATERS_S3_*",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
