"""What preprocess has heard of videos whose approved clips it masters, so that events may come in any order."""

from alembic import op

revision = "preprocess_0001"
down_revision = None
branch_labels = ("preprocess",)
depends_on = None


def upgrade() -> None:
    op.execute("CREATE TABLE video (video_id uuid PRIMARY KEY, proxied jsonb)")
    op.execute("""
        CREATE TABLE clip (
            clip_id uuid PRIMARY KEY,
            video_id uuid NOT NULL REFERENCES video,
            facts jsonb NOT NULL,
            traceparent text NOT NULL DEFAULT ''
        )
    """)
    op.execute("CREATE INDEX clip_video ON clip (video_id)")
