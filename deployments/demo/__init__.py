"""`make demo`: the main job on a real trace, from a signed ticket to a policy in force, in a few minutes."""
