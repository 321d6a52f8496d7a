"""What export has heard of videos and clips, so that an approval and a master may come in any order."""

from alembic import op

revision = "export_0001"
down_revision = None
branch_labels = ("export",)
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE video (
            video_id uuid PRIMARY KEY,
            proxied jsonb,
            mastered jsonb
        )
    """)
    op.execute("""
        CREATE TABLE clip (
            clip_id uuid PRIMARY KEY,
            video_id uuid NOT NULL REFERENCES video,
            facts jsonb NOT NULL,
            traceparent text NOT NULL DEFAULT ''
        )
    """)
    op.execute("CREATE INDEX clip_video ON clip (video_id)")
