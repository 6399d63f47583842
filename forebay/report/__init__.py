"""A plan for people and for machines: in words, as a table, as JSON, as a picture and as one HTML page."""
