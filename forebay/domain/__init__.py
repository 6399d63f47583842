"""The words of Forebay as pydantic models and functions of their arguments: no clock, no I/O."""
