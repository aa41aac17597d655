"""Reading restaurant descriptions: which slots of an E2E meaning representation a text states, and which errors it makes.

Written from the description of the counting in Dušek, Howcroft and Rieser (2019), "Semantic Noise Matters for Neural Natural
Language Generation" (W19-8652), and from the data that they published; no code of theirs was used. How far the counts agree with
theirs is printed by ``benchmarks/slot_error.py`` and stands in docs/metrics.md.
"""
