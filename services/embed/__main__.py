"""``python -m services.embed``."""

from services.chassis.app import main
from services.embed.app import STAGE

if __name__ == "__main__":
    main(STAGE)
