"""Export: approved clips become deliverables, cut from the master, checked, and published by a manifest."""
