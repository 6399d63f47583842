"""Where measured usage comes from."""
