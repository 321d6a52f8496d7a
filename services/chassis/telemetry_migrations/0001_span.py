"""Finished spans, so that timelines need no collector."""

from alembic import op

revision = "telemetry_0001"
down_revision = None
branch_labels = ("telemetry",)
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE span (
            trace_id text NOT NULL,
            span_id text NOT NULL,
            parent_id text,
            links jsonb NOT NULL DEFAULT '[]',
            service text NOT NULL,
            name text NOT NULL,
            kind text NOT NULL,
            started_at timestamptz NOT NULL,
            ended_at timestamptz NOT NULL,
            status text NOT NULL,
            attributes jsonb NOT NULL DEFAULT '{}',
            PRIMARY KEY (trace_id, span_id)
        )
    """)
    op.execute("CREATE INDEX span_started ON span (started_at)")
