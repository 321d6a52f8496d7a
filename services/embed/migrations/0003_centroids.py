"""Centroids of a model's vectors, and near which of them each clip's vectors lie: an inverted file that filters can be joined to."""

from alembic import op

revision = "embed_0003"
down_revision = "embed_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Of a model the latest set that is ready serves searches; the next one is filled clip by clip beside it.
    op.execute("""
        CREATE TABLE centroid_set (
            id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            model integer NOT NULL REFERENCES model ON DELETE CASCADE,
            vectors bigint NOT NULL,
            upto uuid,
            ready boolean NOT NULL DEFAULT false
        )
    """)
    op.execute("CREATE INDEX centroid_set_model ON centroid_set (model)")
    op.execute("""
        CREATE TABLE centroid (
            id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            set integer NOT NULL REFERENCES centroid_set ON DELETE CASCADE,
            centre halfvec NOT NULL
        )
    """)
    op.execute("ALTER TABLE centroid ALTER COLUMN centre SET STORAGE MAIN")
    op.execute("CREATE INDEX centroid_of_set ON centroid (set)")
    # Which centroids a clip's vectors are nearest to, of every model and set; those of a set that is gone mean nothing.
    op.execute("ALTER TABLE clip ADD COLUMN centroids integer[] NOT NULL DEFAULT '{}'")
    op.execute("CREATE INDEX clip_centroids ON clip USING gin (centroids)")
