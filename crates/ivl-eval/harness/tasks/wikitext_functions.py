"""The functions of lm-evaluation-harness's task wikitext, which its YAML can only name from a file beside it."""

from lm_eval.tasks.wikitext.preprocess_wikitext import process_results, wikitext_detokenizer  # noqa: F401
