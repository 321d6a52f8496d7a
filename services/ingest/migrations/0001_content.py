"""Content that is already known, by its digest."""

from alembic import op

revision = "ingest_0001"
down_revision = None
branch_labels = ("ingest",)
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE content (
            sha256 text PRIMARY KEY CHECK (sha256 ~ '^[0-9a-f]{64}$'),
            video_id uuid NOT NULL,
            object_key text NOT NULL,
            size bigint NOT NULL CHECK (size >= 0),
            recorded_at timestamptz NOT NULL DEFAULT now()
        )
    """)
    op.execute("CREATE INDEX content_video ON content (video_id)")


def downgrade() -> None:
    op.execute("DROP TABLE content")
