"""Version 1 of the published events."""
