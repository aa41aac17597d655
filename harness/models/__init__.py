"""Models, as everything here finds, loads, knows and places them; judges, metrics, evaluation and training stand on this floor.

`source.ModelSource.find` gives a model that is whole or says what is wrong; `load` loads it, `device` says where it runs,
`identity` what it is by content, and `batches` cuts what it reads.
"""
