"""What others would do on the same cloud: each peer one small module, pure: what was seen goes in, a floor comes out.

All of them have target tracking above the floor (`forebay.replay.tracking`), as their users would.
"""
