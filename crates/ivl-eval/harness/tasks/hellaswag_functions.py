"""The function of lm-evaluation-harness's task hellaswag, which its YAML can only name from a file beside it."""

from lm_eval.tasks.hellaswag.utils import process_docs  # noqa: F401
