"""Cuts the first picture out of a plan's HTML page: `forebay plan … --format html | python examples/picture_of.py`."""

import sys

page = sys.stdin.read()
start = page.index("<svg")
print(page[start : page.index("</svg>") + len("</svg>")])
