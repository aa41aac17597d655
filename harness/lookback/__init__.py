"""The Lookback Lens: from a model's own attention, how much of each window of a response is grounded in its document.

`extraction` gives lookback ratios, `encoding` and `windows` place them in the text, `classifier` turns them into probabilities.
Modules are imported one by one: `extraction` loads torch and transformers, `classifier` and `windows` do not.
"""
