"""The resource shaping controller's mind: what was observed goes in, one decision and its reason come out. Pure."""
