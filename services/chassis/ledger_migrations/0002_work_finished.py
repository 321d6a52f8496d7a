"""Finished work by time, for whoever watches throughput."""

from alembic import op

revision = "ledger_0002"
down_revision = "ledger_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX work_finished ON work (finished_at DESC) WHERE state = 'done'")
