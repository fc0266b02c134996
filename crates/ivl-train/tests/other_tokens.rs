//! Training against a base that cuts texts into other tokens.

mod fixture;

use std::rc::Rc;

use burn::tensor::Device;
use fixture::{base, examples, gradients_of, penalties, value, vocab};
use ivl_core::cross_tokenizer::{Retokenizer, TokenEnd};
use ivl_core::vocab::{Role, Token};
use ivl_core::{Error, Vocab, VocabMap};
use ivl_train::{
    BaseTarget, Batch, BatchRetokenizer, Example, FrozenBase, LearnerSettings, MicroBatchGradients,
    RetokenizedBatch, ValueLearner,
};

/// Writes a text in the longest tokens that fit, without a beginning.
struct Longest(Vocab);

impl Retokenizer for Longest {
    fn tokenize(&self, text: &str) -> Result<Vec<TokenEnd>, Error> {
        let (bytes, mut at, mut written) = (text.as_bytes(), 0, Vec::new());
        while at < bytes.len() {
            let fits = |id: &u32| {
                let token = self.0.text_bytes(*id);
                !token.is_empty() && bytes[at..].starts_with(token)
            };
            let longest =
                (0..self.0.size() as u32).filter(fits).max_by_key(|&id| self.0.text_bytes(id).len());
            let id = longest.ok_or(Error::EmptyPrompt)?;
            at += self.0.text_bytes(id).len();
            written.push(TokenEnd { id, end: at });
        }
        Ok(written)
    }
}

fn words(tokens: &[&str]) -> Vocab {
    let text = tokens.iter().map(|token| Some(Token::text(token.as_bytes())));
    let end = Vocab::new(text.chain([Some(Token::control("</s>"))]).collect());
    end.with_role(Role::End, tokens.len() as u32)
}

fn other(base: &Vocab, value: &Vocab, map: &VocabMap) -> BatchRetokenizer {
    BatchRetokenizer::new(Box::new(Longest(base.clone())), base, value, map, 64)
}

fn map(base: &Vocab, value: &Vocab) -> VocabMap {
    let equal = |id: u32| (0..value.size() as u32).find(|&other| value.token(other) == base.token(id));
    VocabMap::new((0..base.size() as u32).map(equal).collect(), base, value).expect("a map")
}

#[test]
fn positions_are_those_where_both_stand_and_the_next_token_is_trained() {
    // value: un|der|stand|ing|</s>, trained from "stand" on; base: under|st|anding|</s>, and letters.
    let value = words(&["un", "der", "stand", "ing"]);
    let base = words(&["under", "st", "anding", "a", "stand", "ing"]);
    let example = Example { ids: vec![0, 1, 2, 3, 4], loss_mask: vec![false, false, true, true, true] };
    let other = other(&base, &value, &map(&base, &value));
    let RetokenizedBatch { batch, value_positions } = other.retokenize(&Batch::new(&[&example]));
    // "under" | "standing" is cut as stand|ing by the base as well: the longest token first.
    assert_eq!(batch.ids, [0, 4, 5]);
    // After "under" both stand: the value after "der". After "under stand" too, and at the end.
    assert_eq!((batch.positions, batch.targets), (vec![0, 1, 2], vec![4, 5, 6]));
    assert_eq!(value_positions, [1, 2, 3]);

    // Cut otherwise, only the common borders are left.
    let base = words(&["under", "stan", "ding"]);
    let retokenized = self::other(&base, &value, &map(&base, &value)).retokenize(&Batch::new(&[&example]));
    assert_eq!(retokenized.batch.ids, [0, 1, 2]);
    assert_eq!((retokenized.batch.positions, retokenized.batch.targets), (vec![0, 2], vec![1, 3]));
    assert_eq!(retokenized.value_positions, [1, 3], "after \"under\", and at the end");

    // A base that cannot write the text has nothing to say.
    let base = words(&["q"]);
    assert!(self::other(&base, &value, &map(&base, &value)).retokenize(&Batch::new(&[&example])).is_empty());
}

#[test]
fn rows_and_segments_keep_their_places() {
    let value = words(&["un", "der", "stand", "ing"]);
    let base = words(&["under", "stand", "ing"]);
    let other = other(&base, &value, &map(&base, &value));
    let long = Example { ids: vec![0, 1, 2, 3], loss_mask: vec![false, false, true, true] };
    let short = Example { ids: vec![2, 3], loss_mask: vec![false, true] };
    let packed = Batch::packed(&[vec![&short, &long], vec![&long]]);
    let retokenized = other.retokenize(&packed);
    assert_eq!(retokenized.batch.rows, 3, "a row for each text");
    // In the first row `short` has one token and `long` begins at 1; the second row begins at 4.
    assert_eq!(retokenized.value_positions, [0, 2, 3, 5, 6]);
    assert_eq!(retokenized.batch.targets, [2, 1, 2, 1, 2]);
}

/// A base that happens to cut as the value does is trained against by the same loss and the same gradients.
#[test]
fn equal_tokens_give_the_ordinary_loss_and_gradients() {
    let regularization = penalties(0.3, 0.1, 0.2);
    let examples = examples();
    let batch = Batch::new(&examples.iter().collect::<Vec<_>>());
    let run = |base: &FrozenBase, head_rows: usize| {
        let settings =
            LearnerSettings { regularization: regularization.clone(), head_rows, ..Default::default() };
        let learner = ValueLearner::new(value(), settings);
        let target = BaseTarget::new(base, 1.0, base.map.on(&learner.value.device()));
        let MicroBatchGradients { gradients, losses } =
            learner.gradients(&batch, vec![target], None).expect("in memory");
        (losses.terms[0].read(), gradients_of(&learner.value, &gradients))
    };
    let plain = base("base");
    let mut retokenizing = base("base");
    retokenizing.retokenizer = Some(Rc::new(other(&vocab(), &vocab(), &plain.map)));
    let (terms, gradients) = run(&plain, 0);
    for head_rows in [0, 4] {
        let (others, other_gradients) = run(&retokenizing, head_rows);
        for (a, b) in terms.iter().zip(&others) {
            assert!((a - b).abs() < 1e-3 * (1.0 + a.abs()), "{terms:?} {others:?}");
        }
        for (path, gradient) in &gradients {
            let worst =
                gradient.iter().zip(&other_gradients[path]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-5, "{path}: {worst}");
        }
    }
    assert_eq!(value().device().inner(), Device::flex());
}
