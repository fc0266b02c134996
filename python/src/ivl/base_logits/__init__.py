"""Base logits from a fleet: `python -m ivl.base_logits CONFIG.toml --data DIR` writes what `base_logits.dir` of `ivl train` reads."""
