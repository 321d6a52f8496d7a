"""What a video's request asked to be delivered as, beside the video's facts: an edit needs no more of them."""

from alembic import op

revision = "review_0004_profiles"
down_revision = "review_0003_training"
branch_labels = None
depends_on = None

FOUND = """
    UPDATE video SET profiles = ARRAY(SELECT jsonb_array_elements_text(told.profiles))
    FROM (
        SELECT id, coalesce(
            facts #> '{proxied,options,profiles}', facts #> '{downloaded,options,profiles}',
            facts #> '{accepted,options,profiles}'
        ) AS profiles
        FROM video
    ) AS told
    WHERE video.id = told.id AND told.profiles IS NOT NULL
"""


def upgrade() -> None:
    op.execute("ALTER TABLE video ADD COLUMN profiles text[]")
    op.execute(FOUND)
