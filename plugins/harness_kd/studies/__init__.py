"""Several runs that belong together: the quickstart, a student beside its twin and its teacher, the teacher's own responses."""
