"""Inbox, work, outbox and relay state: the same four tables in every service's schema."""

from alembic import op

revision = "ledger_0001"
down_revision = None
branch_labels = ("ledger",)
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE inbox (
            event_id uuid PRIMARY KEY,
            type text NOT NULL,
            received_at timestamptz NOT NULL DEFAULT now()
        )
    """)
    op.execute("""
        CREATE TABLE work (
            id uuid PRIMARY KEY,
            kind text NOT NULL,
            dedupe_key text NOT NULL UNIQUE,
            video_id uuid NOT NULL,
            clip_id uuid,
            batch text,
            priority integer NOT NULL DEFAULT 0,
            input jsonb NOT NULL,
            state text NOT NULL DEFAULT 'waiting'
                CHECK (state IN ('waiting', 'running', 'done', 'failed', 'cancelled')),
            run integer NOT NULL DEFAULT 1,
            attempts integer NOT NULL DEFAULT 0,
            crashes integer NOT NULL DEFAULT 0,
            not_before timestamptz NOT NULL DEFAULT now(),
            lease_token uuid,
            lease_until timestamptz,
            lease_owner text,
            progress jsonb,
            result jsonb,
            report jsonb,
            error jsonb,
            traceparent text NOT NULL DEFAULT '',
            created_at timestamptz NOT NULL DEFAULT now(),
            started_at timestamptz,
            finished_at timestamptz,
            CHECK ((state = 'running') = (lease_token IS NOT NULL))
        )
    """)
    op.execute("CREATE INDEX work_waiting ON work (priority DESC, created_at, id) WHERE state = 'waiting'")
    op.execute("CREATE INDEX work_running ON work (lease_until) WHERE state = 'running'")
    op.execute("CREATE INDEX work_failed ON work (finished_at DESC) WHERE state = 'failed'")
    op.execute("CREATE INDEX work_batch ON work (batch) WHERE state = 'waiting'")
    op.execute("CREATE INDEX work_video ON work (video_id)")
    op.execute("CREATE INDEX work_clip ON work (clip_id) WHERE clip_id IS NOT NULL")
    op.execute("""
        CREATE TABLE outbox (
            seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            id uuid NOT NULL UNIQUE,
            aggregatetype text NOT NULL,
            aggregateid text NOT NULL,
            type text NOT NULL,
            payload bytea NOT NULL,
            key bytea,
            headers jsonb NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            release_at timestamptz,
            published_at timestamptz
        )
    """)
    op.execute("CREATE INDEX outbox_unpublished ON outbox (seq) WHERE published_at IS NULL")
    op.execute("CREATE TABLE relay (single boolean PRIMARY KEY DEFAULT true CHECK (single), generation uuid)")
    op.execute("""
        CREATE FUNCTION ring() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify(TG_TABLE_SCHEMA || '_' || TG_TABLE_NAME, '');
            RETURN NULL;
        END $$
    """)
    op.execute(
        "CREATE TRIGGER outbox_ring AFTER INSERT OR UPDATE OF release_at ON outbox "
        "FOR EACH STATEMENT EXECUTE FUNCTION ring()"
    )
    op.execute(
        "CREATE TRIGGER work_ring AFTER INSERT OR UPDATE OF state ON work FOR EACH STATEMENT EXECUTE FUNCTION ring()"
    )
