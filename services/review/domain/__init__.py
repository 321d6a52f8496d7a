"""The pure heart of review: state machines as projections of facts, edits as decisions. No I/O."""
