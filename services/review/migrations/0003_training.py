"""Delivered clips by id, the order of training sets."""

from alembic import op

revision = "review_0003_training"
down_revision = "review_0002_editing"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX clip_delivered_by_id ON clip (id) WHERE NOT is_virtual")
