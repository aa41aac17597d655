"""Soft labels of a teacher: captured once, addressed by content, used by every later run."""
