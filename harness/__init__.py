"""Measure how much a language model hallucinates, and distil it to hallucinate less."""

__version__ = "0.1.0.dev0"
