"""What search filters by, what was said and decided of a clip, several models side by side, near-duplicates, re-embedding."""

from alembic import op

revision = "embed_0002"
down_revision = "embed_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE clip
            ADD COLUMN standing jsonb NOT NULL DEFAULT '{}',
            ADD COLUMN state text NOT NULL DEFAULT 'exported',
            ADD COLUMN start_frame integer,
            ADD COLUMN end_frame integer,
            ADD COLUMN seconds double precision,
            ADD COLUMN delivered_at timestamptz,
            ADD COLUMN delivery jsonb,
            ADD COLUMN keyframed jsonb,
            ADD COLUMN speech text NOT NULL DEFAULT '',
            ADD COLUMN words tsvector NOT NULL DEFAULT ''
    """)
    op.execute("UPDATE clip SET words = setweight(to_tsvector('english', title), 'A')")
    op.execute("CREATE INDEX clip_tags ON clip USING gin (tags)")
    op.execute("CREATE INDEX clip_words ON clip USING gin (words)")
    op.execute("CREATE INDEX clip_delivered ON clip (delivered_at)")
    op.execute("CREATE INDEX clip_seconds ON clip (seconds)")
    op.execute("CREATE INDEX clip_state ON clip (state)")
    # What a model's vectors can be compared with: pictures alone, pictures and words, or words alone.
    op.execute("ALTER TABLE model ADD COLUMN sees text NOT NULL DEFAULT 'pictures'")
    # A clip has vectors of its keyframes (0), of its title and tags (1) and of what is said in it (2).
    op.execute("ALTER TABLE embedding ADD COLUMN part smallint NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE embedding DROP CONSTRAINT embedding_pkey")
    op.execute("ALTER TABLE embedding ADD PRIMARY KEY (clip_id, model, part, frame)")
    # Vectors lie in the row itself: an exact comparison of thousands would otherwise fetch each from another place.
    op.execute("ALTER TABLE embedding ALTER COLUMN vector SET STORAGE MAIN")
    # Indexes are made in half precision from now on, see services/embed/index.py; they are made anew at the next start.
    op.execute("""
        DO $$
        DECLARE found record;
        BEGIN
            FOR found IN SELECT indexname FROM pg_indexes
                WHERE schemaname = current_schema() AND indexname LIKE 'embedding_hnsw_%'
            LOOP
                EXECUTE format('DROP INDEX %I', found.indexname);
            END LOOP;
        END $$
    """)
    op.execute("""
        CREATE TABLE near_duplicate (
            model integer NOT NULL REFERENCES model ON DELETE CASCADE,
            one uuid NOT NULL REFERENCES clip ON DELETE CASCADE,
            other uuid NOT NULL REFERENCES clip ON DELETE CASCADE,
            likeness real NOT NULL,
            PRIMARY KEY (model, one, other),
            CHECK (one < other)
        )
    """)
    op.execute("CREATE INDEX near_duplicate_other ON near_duplicate (other)")
    op.execute("CREATE INDEX near_duplicate_likeness ON near_duplicate (model, likeness)")
    # The models that every clip has been, or is being, embedded by.
    op.execute("CREATE TABLE roster (spec text PRIMARY KEY, since timestamptz NOT NULL)")
    op.execute("""
        CREATE TABLE campaign (
            id uuid PRIMARY KEY,
            specs jsonb NOT NULL,
            keyframes boolean NOT NULL DEFAULT false,
            video_id uuid,
            upto uuid,
            queued integer NOT NULL DEFAULT 0,
            done boolean NOT NULL DEFAULT false,
            created_at timestamptz NOT NULL
        )
    """)
