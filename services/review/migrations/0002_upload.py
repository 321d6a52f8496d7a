"""Uploads in parts: what was announced, and under which handle the store keeps its parts."""

from alembic import op

revision = "review_0002_upload"
down_revision = "review_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE upload (
            id uuid PRIMARY KEY,
            name text NOT NULL,
            size bigint NOT NULL CHECK (size > 0),
            part_bytes bigint NOT NULL CHECK (part_bytes > 0),
            content_type text NOT NULL,
            sha256 text NOT NULL DEFAULT '',
            object_key text NOT NULL UNIQUE,
            handle text NOT NULL,
            state text NOT NULL CHECK (state IN ('open', 'complete', 'aborted')),
            created_at timestamptz NOT NULL,
            changed_at timestamptz NOT NULL
        )
    """)
    op.execute("CREATE INDEX upload_by_age ON upload (state, changed_at)")
