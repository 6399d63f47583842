"""Where a policy that came into force is pushed to."""
