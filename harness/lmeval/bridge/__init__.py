"""Every bend of lm-evaluation-harness: what is bent, why, and when it can go. All were tried with 0.4.13.

``startup`` and ``task_index``: an import hook makes ``TaskManager.__init__`` read our task folder too.
    Because lm_eval looks for tasks in its own folder and in ``--include_path`` alone. Until a release reads the entry points
    ``lm_eval.tasks`` (its pull request 4015, open); the hook then stands back by itself, and can be deleted.
``entry_point``: the task folder under a package name.
    Because that is what 4015 asks for; 0.4.13 does not look. Stays.
`harness.lmeval.models.registry`: our models' names in lm-eval's registry.
    Because 0.4.13 reads no entry points for models. Until a release reads ``lm_eval.models`` (4013, merged).
``hand_over``: one method more on its class ``LM``, for which each task's first request asks.
    Because a task is never shown the model that it evaluates. Until tasks are.
``attention``: ``lm.model`` and ``lm.tok_batch_encode`` are read.
    Because attention is no part of its interface. As long as metrics read the evaluated model.
``context``: prompts that are too long are cut in a task's instances before anything is generated.
    Because lm-eval cuts on the left, where the question stands, and counts nothing. Until it cuts the source and counts.
``token_limit``: ``lm.tokenizer`` counts the tokens of responses.
    Because lm-eval says of no response why it ended. Until it does.
``kept``: the three methods of a model that answer, and ``CachingLM`` in `harness.lmeval.run`, are wrapped to keep answers as JSON.
    Because ``--use_cache`` pickles them, ignores the weights, and says nothing of why they ended. Until it does none of it.
``endpoints``: the methods of API backends that ask and parse are wrapped.
    Because they wait as long as they like, take errors for answers and drop ``finish_reason``. Until they do not.
``sample_log``: responses are ``str`` with scores, and ``process_results`` gives a ``dict`` that shows less than it stores.
    Because lm-eval scores one document at a time and takes every logged field for a metric. Until it has both.
``ranks``: the first sample of a rank has NaN for scores that only other ranks have.
    Because its gather fails on a key that a rank lacks. Until it does not.
``plain_errors``: ``sys.excepthook`` of the program ``lm_eval`` prints our errors without a traceback.
    Because its main has no errors for users. Until it has.
``whole_model``: files of a model are checked, before lm-eval loads them or when it hands the model over.
    Because missing weights become random numbers and a warning. Until transformers refuses them.

Besides, `harness.lmeval.task` and `harness.lmeval.judge_task` override methods of its task class, and `harness.lmeval.run` writes
its results files whole or not at all.
"""
