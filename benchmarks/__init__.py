"""Measurements that print what they find. Nothing imports them, and no test asserts an absolute time."""
