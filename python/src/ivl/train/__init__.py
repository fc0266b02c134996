"""Training on many GPUs: `torchrun -m ivl.train CONFIG.toml --data DIR` trains what `ivl data export` wrote."""
