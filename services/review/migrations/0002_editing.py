"""Notes, lengths and the orders of the queue; redone edits; tokens, and who did what."""

from alembic import op

revision = "review_0002_editing"
down_revision = "review_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE clip ADD COLUMN note text NOT NULL DEFAULT ''")
    op.execute("ALTER TABLE clip ADD COLUMN frames integer GENERATED ALWAYS AS (end_frame - start_frame) STORED")
    op.execute("CREATE INDEX clip_least_certain ON clip (state, confidence, id)")
    op.execute("CREATE INDEX clip_by_length ON clip (state, frames, id)")
    op.execute("CREATE INDEX clip_states_of_video ON clip (video_id, state) WHERE occupies")
    # Without the pending list: it is emptied by whoever comes by, and an edit has no time for that.
    op.execute("CREATE INDEX clip_tags ON clip USING gin (tags) WITH (fastupdate = off)")

    op.execute("CREATE INDEX clip_delivered ON clip (changed_at DESC, id DESC) WHERE NOT is_virtual")

    op.execute("ALTER TABLE edit ADD COLUMN redo_of uuid REFERENCES edit, ADD COLUMN redone_by uuid REFERENCES edit")

    op.execute("""
        CREATE TABLE token (
            id uuid PRIMARY KEY,
            name text NOT NULL,
            role text NOT NULL CHECK (role IN ('viewer', 'reviewer', 'operator')),
            digest bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
            created_at timestamptz NOT NULL,
            created_by text NOT NULL,
            expires_at timestamptz,
            revoked_at timestamptz
        )
    """)
    op.execute("CREATE INDEX token_newest ON token (created_at DESC, id DESC)")
    op.execute("""
        CREATE TABLE audit (
            seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            at timestamptz NOT NULL,
            actor text NOT NULL,
            role text NOT NULL,
            action text NOT NULL,
            status integer NOT NULL
        )
    """)
