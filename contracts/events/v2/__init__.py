"""Version 2 of the events that have one."""
