"""Names, numbers and dates of a text, found by rule, and whether another text holds them.

English alone, no model, nothing downloaded. `harness.metrics.items.compare.items` puts the parts together; docs/metrics.md says
what they cannot see.
"""
