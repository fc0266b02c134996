//! Between our parameters and the tensors of a checkpoint: names, orientation, and fused projections.

/// How the tensors of a family are called and laid out. The same rules load and save.
#[derive(Debug, Clone)]
pub struct WeightMap {
    prefix: &'static str,
    rules: Vec<Rule>,
    ignored: Vec<&'static str>,
}

/// Where the parameters of one module (`weight` and `bias`) lie in a checkpoint.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    ours: &'static str,
    theirs: &'static str,
    /// Whether a matrix is stored as `[output, input]`, as `torch.nn.Linear` does; ours are `[input, output]`.
    pub(crate) transposed: bool,
    pub(crate) slice: OutputSlice,
    /// What the stored numbers have more than ours.
    pub(crate) plus: f32,
}

/// Which outputs of a stored tensor are ours: projections may be fused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputSlice {
    /// All.
    All,
    /// Consecutive ones.
    Range {
        /// First output.
        start: usize,
        /// Outputs of the stored tensor.
        total: usize,
    },
    /// Groups of `width` outputs, of which every `parts`-th, counted from `part`, is ours.
    Interleaved {
        /// Outputs in a group.
        width: usize,
        /// The first group.
        part: usize,
        /// How many projections take turns.
        parts: usize,
    },
    /// All, in another order: the two dimensions that a rotation turns together are neighbours, not half a head apart.
    RotaryPairs {
        /// Outputs of a head.
        width: usize,
    },
}

impl OutputSlice {
    /// The stored output that is our output `index`.
    pub(crate) fn stored(self, index: usize) -> usize {
        match self {
            Self::All => index,
            Self::Range { start, .. } => start + index,
            Self::Interleaved { width, part, parts } => {
                (index / width * parts + part) * width + index % width
            }
            Self::RotaryPairs { width } => {
                let (head, half) = (index / width * width, width / 2);
                head + index % width % half * 2 + index % width / half
            }
        }
    }

    /// Outputs of the stored tensor, of which `ours` are ours.
    pub(crate) fn total(self, ours: usize) -> usize {
        match self {
            Self::All | Self::RotaryPairs { .. } => ours,
            Self::Range { total, .. } => total,
            Self::Interleaved { parts, .. } => ours * parts,
        }
    }
}

impl Rule {
    /// Tensors stored as we keep them: norms, embeddings, `[input, output]` projections. `{}` is the layer.
    pub fn same(ours: &'static str, theirs: &'static str) -> Self {
        Self { ours, theirs, transposed: false, slice: OutputSlice::All, plus: 0.0 }
    }

    /// A projection stored as `[output, input]`.
    pub fn linear(ours: &'static str, theirs: &'static str) -> Self {
        Self { transposed: true, ..Self::same(ours, theirs) }
    }

    /// Only some outputs of the stored tensor are ours.
    #[must_use]
    pub fn slice(mut self, slice: OutputSlice) -> Self {
        self.slice = slice;
        self
    }

    /// The stored numbers are ours plus `plus`.
    #[must_use]
    pub(crate) fn plus(mut self, plus: f32) -> Self {
        self.plus = plus;
        self
    }

    /// Whether a parameter is stored as we keep it.
    pub(crate) fn is_identity(&self, ours: &[usize]) -> bool {
        let keeps_place = self.slice == OutputSlice::All && self.plus == 0.0;
        keeps_place && !(self.transposed && ours.len() == 2)
    }

    /// The shape of the stored tensor, of which our parameter has the shape `ours`.
    pub(crate) fn stored_shape(&self, ours: &[usize]) -> Vec<usize> {
        match *ours {
            [inputs, outputs] if self.transposed => vec![self.slice.total(outputs), inputs],
            [inputs, outputs] => vec![inputs, self.slice.total(outputs)],
            [outputs] => vec![self.slice.total(outputs)],
            _ => ours.to_vec(),
        }
    }
}

/// Parts of the names of tensors that carry no weights of a language model: tables that are computed anyway, counters, and the
/// value heads that TRL trains beside a model.
const NOT_WEIGHTS: [&str; 11] = [
    ".rotary_emb.",
    ".rotary_pos_emb.",
    ".rope.freqs",
    ".freqs_cis",
    ".cos_cached",
    ".sin_cached",
    "._extra_state",
    ".v_head.",
    ".position_ids",
    ".causal_mask",
    ".num_batches_tracked",
];

impl WeightMap {
    /// Rules of a family whose names start with `prefix`, which some files leave out.
    pub fn new(prefix: &'static str, rules: Vec<Rule>) -> Self {
        Self { prefix, rules, ignored: NOT_WEIGHTS.to_vec() }
    }

    /// Further rules; one for a module that already has a rule replaces it.
    #[must_use]
    pub fn with<const N: usize>(mut self, rules: [Rule; N]) -> Self {
        self.rules.retain(|old| rules.iter().all(|new| new.ours != old.ours));
        self.rules.extend(rules);
        self
    }

    /// Further tensors that old files carry and no model needs, by parts of their names.
    #[must_use]
    pub fn ignoring(mut self, names: &[&'static str]) -> Self {
        self.ignored.extend(names);
        self
    }

    pub(crate) fn prefix(&self) -> &'static str {
        self.prefix
    }

    pub(crate) fn ignores(&self, name: &str) -> bool {
        let name = format!(".{name}");
        self.ignored.iter().any(|part| name.contains(part))
    }

    /// The rule for one of our parameters, and the name of its tensor: `blocks.3.mlp.up.weight` is found under
    /// `blocks.{}.mlp.up`.
    ///
    /// # Panics
    /// If a family has no rule for a module that its configuration makes: a bug in its table.
    pub(crate) fn resolve(&self, parameter: &str) -> (&Rule, String) {
        let (module, kind) = parameter.rsplit_once('.').unwrap_or((parameter, "weight"));
        let (layer, template) = match module.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')) {
            Some((layer, rest)) => (layer, format!("blocks.{{}}.{rest}")),
            None => ("", module.to_owned()),
        };
        let rule = self.rules.iter().find(|rule| rule.ours == template);
        let rule = rule.unwrap_or_else(|| panic!("no weight rule for `{template}`"));
        (rule, format!("{}.{kind}", rule.theirs.replace("{}", layer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fused_outputs_are_found_and_cover_the_stored_tensor_once() {
        let cases: [Vec<(OutputSlice, usize)>; 3] = [
            vec![(OutputSlice::RotaryPairs { width: 6 }, 12)],
            (0..3).map(|part| (OutputSlice::Interleaved { width: 4, part, parts: 3 }, 8)).collect(),
            vec![
                (OutputSlice::Range { start: 0, total: 14 }, 8),
                (OutputSlice::Range { start: 8, total: 14 }, 3),
                (OutputSlice::Range { start: 11, total: 14 }, 3),
            ],
        ];
        for parts in cases {
            let total = parts[0].0.total(parts[0].1);
            let mut seen: Vec<usize> =
                parts.iter().flat_map(|&(rows, ours)| (0..ours).map(move |i| rows.stored(i))).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..total).collect::<Vec<_>>());
        }
        assert_eq!(OutputSlice::Interleaved { width: 4, part: 1, parts: 3 }.stored(5), 17);
        let pairs = OutputSlice::RotaryPairs { width: 6 };
        assert_eq!((6..12).map(|ours| pairs.stored(ours)).collect::<Vec<_>>(), [6, 8, 10, 7, 9, 11]);
    }

    #[test]
    fn rules_resolve_layers_and_later_ones_replace() {
        let map =
            WeightMap::new("m.", vec![Rule::linear("blocks.{}.a", "m.{}.x"), Rule::same("norm", "m.n")]);
        assert_eq!(map.resolve("blocks.12.a.bias").1, "m.12.x.bias");
        assert_eq!(map.resolve("norm.weight").1, "m.n.weight");
        let map = map.with([Rule::same("norm", "m.other")]);
        assert_eq!(map.resolve("norm.weight").1, "m.other.weight");
    }
}
