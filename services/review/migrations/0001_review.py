"""Projections of videos and clips, the log they are made from, edits, progress and dead letters."""

from alembic import op

revision = "review_0001"
down_revision = None
branch_labels = ("review",)
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE event_log (
            seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            txid bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
            id uuid NOT NULL UNIQUE,
            type text NOT NULL,
            video_id uuid,
            clip_id uuid,
            body jsonb NOT NULL,
            traceparent text NOT NULL,
            origin text NOT NULL CHECK (origin IN ('received', 'decided')),
            happened_at timestamptz NOT NULL,
            recorded_at timestamptz NOT NULL
        )
    """)
    op.execute("CREATE UNIQUE INDEX event_log_position ON event_log (txid, seq)")
    op.execute("CREATE INDEX event_log_video ON event_log (video_id, txid, seq)")
    op.execute("CREATE INDEX event_log_clip ON event_log (clip_id, seq) WHERE clip_id IS NOT NULL")

    op.execute("""
        CREATE TABLE video (
            id uuid PRIMARY KEY,
            ordinal bigint GENERATED ALWAYS AS IDENTITY UNIQUE CHECK (ordinal < 1::bigint << 36),
            facts jsonb NOT NULL,
            state text NOT NULL,
            title text NOT NULL,
            source jsonb,
            tags text[] NOT NULL,
            frames integer,
            rate text,
            duration text,
            mastered boolean NOT NULL,
            duplicate_of uuid,
            error jsonb,
            trace_id text NOT NULL,
            created_at timestamptz NOT NULL,
            state_since timestamptz NOT NULL,
            changed_at timestamptz NOT NULL,
            stall_told timestamptz
        )
    """)
    op.execute("CREATE INDEX video_newest ON video (created_at DESC, id DESC)")
    op.execute("CREATE INDEX video_newest_by_state ON video (state, created_at DESC, id DESC)")
    op.execute("CREATE INDEX video_by_age_of_state ON video (state, state_since)")

    # A clip's slot is its range shifted by its video's ordinal, so that ranges of different videos never meet and plain
    # range operators suffice: frame numbers stay below 2^26.
    op.execute("""
        CREATE TABLE clip (
            id uuid PRIMARY KEY,
            video_id uuid NOT NULL REFERENCES video,
            slot int8range NOT NULL CHECK (NOT isempty(slot)),
            start_frame integer NOT NULL CHECK (start_frame >= 0),
            end_frame integer NOT NULL CHECK (end_frame > start_frame AND end_frame <= 50000000),
            occupies boolean NOT NULL,
            facts jsonb NOT NULL,
            state text NOT NULL,
            version integer NOT NULL CHECK (version >= 1),
            origin text NOT NULL,
            parents uuid[] NOT NULL,
            children uuid[] NOT NULL,
            grouped_with uuid[] NOT NULL,
            tags text[] NOT NULL,
            confidence double precision NOT NULL,
            approved_by text,
            last_edit uuid,
            is_virtual boolean NOT NULL,
            manifest_key text,
            error jsonb,
            traceparent text NOT NULL,
            created_at timestamptz NOT NULL,
            state_since timestamptz NOT NULL,
            changed_at timestamptz NOT NULL,
            stall_told timestamptz,
            CONSTRAINT clip_physical_has_file CHECK (is_virtual OR manifest_key IS NOT NULL),
            CONSTRAINT clip_no_overlap EXCLUDE USING gist (slot WITH &&) WHERE (occupies)
        )
    """)
    op.execute("CREATE INDEX clip_of_video ON clip (video_id, start_frame, id)")
    op.execute("CREATE INDEX clip_queue ON clip (created_at, video_id, start_frame, id)")
    op.execute("CREATE INDEX clip_queue_by_state ON clip (state, created_at, video_id, start_frame, id)")
    op.execute("CREATE INDEX clip_by_age_of_state ON clip (state, state_since)")

    op.execute("""
        CREATE TABLE edit (
            id uuid PRIMARY KEY,
            video_id uuid NOT NULL REFERENCES video,
            kind text NOT NULL,
            by text NOT NULL,
            command jsonb NOT NULL,
            clips uuid[] NOT NULL,
            events uuid[] NOT NULL,
            idempotency_key text,
            made_at timestamptz NOT NULL,
            release_at timestamptz NOT NULL,
            undone_by uuid REFERENCES edit,
            UNIQUE (video_id, idempotency_key)
        )
    """)
    op.execute("CREATE INDEX edit_of_video ON edit (video_id, made_at DESC, id)")

    op.execute("""
        CREATE TABLE progress (
            work_id uuid PRIMARY KEY,
            video_id uuid NOT NULL,
            clip_id uuid,
            stage text NOT NULL,
            kind text NOT NULL,
            body jsonb NOT NULL,
            changed_at timestamptz NOT NULL
        )
    """)
    op.execute("CREATE INDEX progress_of_video ON progress (video_id, changed_at)")
    op.execute("CREATE INDEX progress_latest ON progress (changed_at)")

    op.execute("""
        CREATE TABLE dead_letter (
            id uuid PRIMARY KEY,
            consumers text[] NOT NULL,
            topic text NOT NULL,
            partition integer NOT NULL,
            "offset" bigint NOT NULL,
            code text NOT NULL,
            reason text NOT NULL,
            key bytea,
            value bytea,
            headers jsonb NOT NULL,
            recorded_at timestamptz NOT NULL,
            state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'replayed', 'discarded')),
            acted_at timestamptz,
            acted_by text
        )
    """)
    op.execute("CREATE INDEX dead_letter_newest ON dead_letter (recorded_at DESC, id DESC)")
    op.execute("CREATE INDEX dead_letter_by_state ON dead_letter (state, recorded_at DESC, id DESC)")
