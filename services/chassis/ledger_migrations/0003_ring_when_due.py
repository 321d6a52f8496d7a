"""An event that is held for longer than loops sleep rings nobody: the relay finds it when it looks by itself."""

from alembic import op

revision = "ledger_0003"
down_revision = "ledger_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DROP TRIGGER outbox_ring ON outbox")
    op.execute(
        "CREATE TRIGGER outbox_ring AFTER INSERT OR UPDATE OF release_at ON outbox FOR EACH ROW "
        "WHEN (NEW.release_at IS NULL OR NEW.release_at <= NEW.created_at + interval '10 seconds') EXECUTE FUNCTION ring()"
    )
