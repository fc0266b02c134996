//! The texts that the models are pre-trained on: statements only, never a question.

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::sentence::{capitalized, fill};
use crate::story;
use crate::sum;
use crate::world::{Entity, World};

/// A stream of texts.
#[derive(Debug)]
pub struct Corpus<'a> {
    world: &'a World,
    rng: ChaCha8Rng,
    continued: bool,
}

impl<'a> Corpus<'a> {
    /// Texts about people, books and villages, small stories and sums. They go on for ever; equal seeds give equal texts.
    pub fn new(world: &'a World, seed: u64) -> Self {
        Self { world, rng: ChaCha8Rng::seed_from_u64(seed), continued: false }
    }

    /// The corpus of the continued model: logs of ships, and one text in four of the first corpus, so that not all of
    /// it is forgotten.
    pub fn continued(world: &'a World, seed: u64) -> Self {
        Self { world, rng: ChaCha8Rng::seed_from_u64(seed), continued: true }
    }
}

impl Iterator for Corpus<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let (world, rng) = (self.world, &mut self.rng);
        if self.continued && rng.random_bool(0.75) {
            return Some(about(&world.ships, 2, rng));
        }
        Some(match rng.random_range(0..40) {
            0..20 => about(&world.people, 2, rng),
            20..27 => about(&world.books, 2, rng),
            27..34 => about(&world.villages, 2, rng),
            34..38 => story::story(world, rng),
            _ => sum::sums(rng),
        })
    }
}

/// What is known of some of the entities, in any order of facts and in many phrasings: one after the other, or mixed.
fn about(entities: &[Entity], count: usize, rng: &mut ChaCha8Rng) -> String {
    let chosen: Vec<&Entity> = entities.sample(rng, count).collect();
    let mut facts: Vec<(usize, usize)> =
        (0..count).flat_map(|e| (0..chosen[e].attributes.len()).map(move |a| (e, a))).collect();
    facts.shuffle(rng);
    if rng.random_bool(0.5) {
        facts.sort_by_key(|(entity, _)| *entity);
    }
    let mut named = None;
    let mut sentences = Vec::new();
    for (entity, attribute) in facts {
        sentences.push(telling(chosen[entity], attribute, named == Some(entity), rng));
        named = Some(entity);
    }
    sentences.join(" ")
}

/// One fact: as it would be answered, otherwise, or with a pronoun where the text has just named whom it is about.
fn telling(entity: &Entity, attribute: usize, named: bool, rng: &mut ChaCha8Rng) -> String {
    let told = &entity.attributes[attribute];
    let template = match rng.random_range(0..6) {
        0..3 => told.answer,
        3 if named => told.continuations.choose(rng).expect("an attribute has continuations"),
        _ => told.tellings.choose(rng).expect("an attribute has tellings"),
    };
    capitalized(&fill(template, &entity.name, entity.values[attribute], entity.pronoun))
}
