"""What a run will take before it starts: the stages, with time, disk and peak memory of each.

Nothing that does not fit is loaded: memory is counted on tensors without any (`live`), and time is probed where there is room
(`timing`).
"""
