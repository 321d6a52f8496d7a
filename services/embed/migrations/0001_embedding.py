"""Clips that can be searched, the models that see them, and one vector per keyframe and model."""

from alembic import op

revision = "embed_0001"
down_revision = None
branch_labels = ("embed",)
depends_on = None


def upgrade() -> None:
    # The extension serves every schema of the database, so it lives in the one that all search paths end with.
    op.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
    op.execute("""
        CREATE TABLE clip (
            clip_id uuid PRIMARY KEY,
            video_id uuid NOT NULL,
            title text NOT NULL,
            tags text[] NOT NULL DEFAULT '{}',
            archived boolean NOT NULL DEFAULT false
        )
    """)
    op.execute("CREATE INDEX clip_video ON clip (video_id)")
    op.execute("""
        CREATE TABLE model (
            id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            model_id text NOT NULL,
            revision text NOT NULL,
            dimensions integer NOT NULL CHECK (dimensions BETWEEN 1 AND 16000),
            UNIQUE (model_id, revision)
        )
    """)
    # The vector column has no fixed size, for models differ; each model gets an index of its own size when it is first seen.
    op.execute("""
        CREATE TABLE embedding (
            clip_id uuid NOT NULL REFERENCES clip ON DELETE CASCADE,
            model integer NOT NULL REFERENCES model,
            frame integer NOT NULL CHECK (frame >= 0),
            object_key text NOT NULL,
            vector vector NOT NULL,
            PRIMARY KEY (clip_id, model, frame)
        )
    """)
    op.execute("CREATE INDEX embedding_model ON embedding (model)")
