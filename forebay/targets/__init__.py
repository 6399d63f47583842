"""Where allocations live: one adapter a kind of target."""
