"""How Forebay is run: local start, automations, container image, compose, IAM policy. Nothing imports it."""
