"""Losses of distillation over one chunk of logits at a time, and the hidden states that they read."""
