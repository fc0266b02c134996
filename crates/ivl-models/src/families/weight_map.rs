//! Between our parameters and the tensors of a checkpoint: names, orientation, and fused projections.

/// How the tensors of a family are called and laid out. The same rules load and save.
#[derive(Debug, Clone)]
pub struct WeightMap {
    prefix: &'static str,
    rules: Vec<Rule>,
    /// Rules for names under which some files hold a module that has a rule.
    alternatives: Vec<Rule>,
    ignored: Vec<&'static str>,
    ignored_layers: Option<IgnoredLayers>,
}

/// Tensors of layers that no layer of the model has.
#[derive(Debug, Clone)]
struct IgnoredLayers {
    /// What precedes the index of a layer.
    before: &'static str,
    /// The first index.
    first: usize,
    /// What follows the index and a dot; all tensors of the layer, if there is none.
    parts: &'static [&'static str],
}

/// Where the parameters of one module (`weight` and `bias`) lie in a checkpoint.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    ours: &'static str,
    theirs: &'static str,
    /// Whether a matrix is stored as `[output, input]`, as `torch.nn.Linear` does; ours are `[input, output]`.
    pub(crate) transposed: bool,
    pub(crate) slice: OutputSlice,
    /// The order of the stored inputs of a matrix.
    pub(crate) inputs: OutputSlice,
    /// How the stored numbers follow from ours.
    pub(crate) numbers: StoredNumbers,
    /// Whether single numbers are tensors without axes.
    scalar: bool,
    /// Whether a matrix is stored as the weight of a convolution of single channels, `[channels, 1, kernel]`.
    depthwise: bool,
    /// Whether the rule is for one parameter, of which both names are whole.
    whole: bool,
    /// The number of experts, whose matrices are one tensor `[experts, output, input]`.
    pub(crate) stacked: Option<usize>,
    /// The tensor with the biases of a stack of experts.
    stacked_bias: Option<&'static str>,
}

/// Where a parameter lies in a checkpoint.
#[derive(Debug, Clone)]
pub(crate) struct TensorPlace {
    /// The layout of its tensor.
    pub(crate) rule: Rule,
    /// The name of its tensor.
    pub(crate) name: String,
    /// Its place in a stack of experts.
    pub(crate) expert: usize,
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
    /// All, in another order: from output `start` on, blocks of `width` outputs that we keep by group and that are stored the first of
    /// all groups, then the second of all groups, and so on.
    Regrouped {
        /// Outputs before it that keep their places.
        start: usize,
        /// Outputs in a block.
        width: usize,
        /// Groups.
        groups: usize,
        /// Blocks in a group.
        per_group: usize,
    },
    /// All, in another order: the two dimensions that a rotation turns together are neighbours, not half a head apart.
    RotaryPairs {
        /// Outputs of a head.
        width: usize,
    },
}

/// How stored numbers follow from ours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum StoredNumbers {
    /// They are ours.
    Ours,
    /// Ours plus one.
    PlusOne,
    /// `-exp(x)`.
    NegativeExponential,
}

impl StoredNumbers {
    /// The stored number.
    pub(crate) fn store(self, ours: f32) -> f32 {
        match self {
            Self::Ours => ours,
            Self::PlusOne => ours + 1.0,
            Self::NegativeExponential => -ours.exp(),
        }
    }

    /// Our number.
    pub(crate) fn load(self, stored: f32) -> f32 {
        match self {
            Self::Ours => stored,
            Self::PlusOne => stored - 1.0,
            Self::NegativeExponential => (-stored).ln(),
        }
    }
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
            Self::Regrouped { start, .. } if index < start => index,
            Self::Regrouped { start, width, groups, per_group } => {
                let (block, inside) = ((index - start) / width, (index - start) % width);
                start + (block % per_group * groups + block / per_group) * width + inside
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
            Self::All | Self::Regrouped { .. } | Self::RotaryPairs { .. } => ours,
            Self::Range { total, .. } => total,
            Self::Interleaved { parts, .. } => ours * parts,
        }
    }
}

impl Rule {
    /// Tensors stored as we keep them: norms, embeddings, `[input, output]` projections. `{}` is the layer, a second one the expert.
    pub fn same(ours: &'static str, theirs: &'static str) -> Self {
        Self {
            ours,
            theirs,
            transposed: false,
            slice: OutputSlice::All,
            inputs: OutputSlice::All,
            numbers: StoredNumbers::Ours,
            scalar: false,
            depthwise: false,
            whole: false,
            stacked: None,
            stacked_bias: None,
        }
    }

    /// A projection stored as `[output, input]`.
    pub fn linear(ours: &'static str, theirs: &'static str) -> Self {
        Self { transposed: true, ..Self::same(ours, theirs) }
    }

    /// Single numbers, stored as tensors without axes; ours have shape `[1]`.
    pub fn scalars(ours: &'static str, theirs: &'static str) -> Self {
        Self { scalar: true, ..Self::same(ours, theirs) }
    }

    /// A convolution of single channels, stored as `[channels, 1, kernel]`; ours is `[kernel, channels]`.
    pub fn depthwise(ours: &'static str, theirs: &'static str) -> Self {
        Self { depthwise: true, ..Self::linear(ours, theirs) }
    }

    /// One parameter, by whole names on both sides.
    pub fn parameter(ours: &'static str, theirs: &'static str) -> Self {
        Self { whole: true, ..Self::same(ours, theirs) }
    }

    /// A projection of one of `experts` experts, stored as `[experts, output, input]` in one tensor, whose whole name `theirs` is.
    pub fn stacked(ours: &'static str, theirs: &'static str, experts: usize) -> Self {
        Self { stacked: Some(experts), ..Self::linear(ours, theirs) }
    }

    /// As [`stacked`](Self::stacked), but `[experts, input, output]`.
    pub fn stacked_by_input(ours: &'static str, theirs: &'static str, experts: usize) -> Self {
        Self { stacked: Some(experts), ..Self::same(ours, theirs) }
    }

    /// The biases of a stack of experts are `[experts, output]` in the tensor `theirs`.
    #[must_use]
    pub fn biases(mut self, theirs: &'static str) -> Self {
        self.stacked_bias = Some(theirs);
        self
    }

    /// Only some outputs of the stored tensor are ours.
    #[must_use]
    pub fn slice(mut self, slice: OutputSlice) -> Self {
        self.slice = slice;
        self
    }

    /// The inputs of the stored matrix are in another order.
    #[must_use]
    pub(crate) fn inputs(mut self, order: OutputSlice) -> Self {
        self.inputs = order;
        self
    }

    /// The stored numbers are a function of ours.
    #[must_use]
    pub(crate) fn numbers(mut self, numbers: StoredNumbers) -> Self {
        self.numbers = numbers;
        self
    }

    /// Whether a parameter is stored as we keep it.
    pub(crate) fn is_identity(&self, ours: &[usize]) -> bool {
        let keeps_place = self.slice == OutputSlice::All && self.inputs == OutputSlice::All;
        keeps_place && self.numbers == StoredNumbers::Ours && !(self.transposed && ours.len() == 2)
    }

    /// The shape of the stored tensor, of which our parameter has the shape `ours`.
    pub(crate) fn stored_shape(&self, ours: &[usize]) -> Vec<usize> {
        let one = match *ours {
            [inputs, outputs] if self.depthwise => vec![outputs, 1, inputs],
            [inputs, outputs] if self.transposed => vec![self.slice.total(outputs), inputs],
            [inputs, outputs] => vec![inputs, self.slice.total(outputs)],
            [_] if self.scalar => Vec::new(),
            [outputs] => vec![self.slice.total(outputs)],
            _ => ours.to_vec(),
        };
        self.stacked.into_iter().chain(one).collect()
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
        Self { prefix, rules, alternatives: Vec::new(), ignored: NOT_WEIGHTS.to_vec(), ignored_layers: None }
    }

    /// Further rules; one for a module that already has a rule replaces it.
    #[must_use]
    pub fn with<const N: usize>(mut self, rules: [Rule; N]) -> Self {
        self.rules.retain(|old| rules.iter().all(|new| new.ours != old.ours));
        self.rules.extend(rules);
        self
    }

    /// Other rules for modules that have one: some files use them. Saving does not.
    #[must_use]
    pub fn or<const N: usize>(mut self, rules: [Rule; N]) -> Self {
        self.alternatives.extend(rules);
        self
    }

    /// Further tensors that old files carry and no model needs, by parts of their names.
    #[must_use]
    pub fn ignoring(mut self, names: &[&'static str]) -> Self {
        self.ignored.extend(names);
        self
    }

    /// Tensors whose names begin with `before` and the index of a layer from `first` on are of no layer of the model.
    #[must_use]
    pub(crate) fn ignoring_layers_from(self, before: &'static str, first: usize) -> Self {
        self.ignoring_of_layers_from(before, first, &[])
    }

    /// As [`ignoring_layers_from`](Self::ignoring_layers_from), but only tensors whose names go on with one of `parts`.
    #[must_use]
    pub(crate) fn ignoring_of_layers_from(
        mut self,
        before: &'static str,
        first: usize,
        parts: &'static [&'static str],
    ) -> Self {
        self.ignored_layers = Some(IgnoredLayers { before, first, parts });
        self
    }

    pub(crate) fn prefix(&self) -> &'static str {
        self.prefix
    }

    pub(crate) fn ignores(&self, name: &str) -> bool {
        let is_of_later_layer = |layers: &IgnoredLayers| {
            let rest = name.strip_prefix(layers.before).and_then(|rest| rest.split_once('.'));
            let index = rest.and_then(|(index, rest)| Some((index.parse::<usize>().ok()?, rest)));
            index.is_some_and(|(index, rest)| {
                let parts = layers.parts;
                index >= layers.first && (parts.is_empty() || parts.iter().any(|part| rest.starts_with(part)))
            })
        };
        if self.ignored_layers.as_ref().is_some_and(is_of_later_layer) {
            return true;
        }
        let name = format!(".{name}");
        self.ignored.iter().any(|part| name.contains(part))
    }

    /// Where one of our parameters lies: `blocks.3.mlp.up.weight` is found under its whole name, else under `blocks.{}.mlp.up`.
    ///
    /// # Panics
    /// If a family has no rule for a module that its configuration makes: a bug in its table.
    pub(crate) fn resolve(&self, parameter: &str) -> TensorPlace {
        let module = Module::of(parameter);
        let named = |rule: &&Rule| rule.whole && rule.ours == format!("{}.{}", module.template, module.kind);
        let rule = self.rules.iter().find(named);
        let rule = rule.or_else(|| self.rules.iter().find(|rule| rule.ours == module.template));
        module.place(rule.unwrap_or_else(|| panic!("no weight rule for `{}`", module.template)))
    }

    /// Every place where a parameter may lie, the usual one first.
    ///
    /// # Panics
    /// As [`resolve`](Self::resolve).
    pub(crate) fn places(&self, parameter: &str) -> Vec<TensorPlace> {
        let module = Module::of(parameter);
        let others = self.alternatives.iter().filter(|rule| rule.ours == module.template);
        std::iter::once(self.resolve(parameter)).chain(others.map(|rule| module.place(rule))).collect()
    }
}

/// A parameter's module: its name with `{}` for each index, and the indices.
struct Module<'a> {
    template: String,
    indices: Vec<&'a str>,
    /// `weight` or `bias`.
    kind: &'a str,
}

impl<'a> Module<'a> {
    fn of(parameter: &'a str) -> Self {
        let (module, kind) = parameter.rsplit_once('.').unwrap_or((parameter, "weight"));
        let is_index = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
        let parts = module.split('.').map(|part| if is_index(&part) { "{}" } else { part });
        Self {
            template: parts.collect::<Vec<_>>().join("."),
            indices: module.split('.').filter(is_index).collect(),
            kind,
        }
    }

    fn place(&self, rule: &Rule) -> TensorPlace {
        let theirs = match rule.stacked_bias {
            Some(bias) if self.kind == "bias" => bias,
            _ => rule.theirs,
        };
        let name = self.indices.iter().fold(theirs.to_owned(), |name, index| name.replacen("{}", index, 1));
        let expert = self.indices.get(1).and_then(|index| index.parse().ok()).unwrap_or(0);
        match rule.stacked {
            _ if rule.whole => TensorPlace { rule: *rule, name, expert: 0 },
            Some(_) => TensorPlace { rule: *rule, name, expert },
            None => TensorPlace { rule: *rule, name: format!("{name}.{}", self.kind), expert: 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fused_outputs_are_found_and_cover_the_stored_tensor_once() {
        let cases: [Vec<(OutputSlice, usize)>; 4] = [
            vec![(OutputSlice::RotaryPairs { width: 6 }, 12)],
            vec![(OutputSlice::Regrouped { start: 4, width: 2, groups: 2, per_group: 3 }, 16)],
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
        assert_eq!(map.resolve("blocks.12.a.bias").name, "m.12.x.bias");
        assert_eq!(map.resolve("norm.weight").name, "m.n.weight");
        let map = map.with([Rule::same("norm", "m.other")]);
        assert_eq!(map.resolve("norm.weight").name, "m.other.weight");
        let map = map.with([Rule::linear("blocks.{}.e.{}.up", "m.{}.e.{}.w3")]);
        let map = map.or([Rule::stacked("blocks.{}.e.{}.up", "m.{}.e.up", 8)]);
        let places = map.places("blocks.3.e.5.up.weight");
        assert_eq!(
            places.iter().map(|place| place.name.as_str()).collect::<Vec<_>>(),
            ["m.3.e.5.w3.weight", "m.3.e.up"]
        );
        assert_eq!(places[1].expert, 5);
        assert_eq!(places[1].rule.stored_shape(&[4, 6]), [8, 6, 4]);
    }
}
