"""Review: projects what became of every video and clip, turns shots into virtual clips, and lets people decide on them."""
