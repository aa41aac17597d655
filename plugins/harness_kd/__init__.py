"""Knowledge distillation for faithfulness: a soft-label cache, fused losses and a trainer.

The plugin of the ``harness`` command that brings ``quickstart``, ``train-kd`` and ``soft-labels``. It imports
``harness``, never the reverse. Modules here import torch and transformers; `harness_kd.plugin`, which every
``harness --help`` loads, does not.
"""
