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
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    Varied,
    Ships,
}

impl<'a> Corpus<'a> {
    /// Texts about people, books and villages, small stories and sums. They go on for ever; equal seeds give equal texts.
    pub fn plain(world: &'a World, seed: u64) -> Self {
        Self::of(world, seed, Kind::Plain)
    }

    /// The same, and as many texts with headings and lines, in which somebody wonders about one fact and others are
    /// told: what is known should be at hand in any surroundings.
    pub fn varied(world: &'a World, seed: u64) -> Self {
        Self::of(world, seed, Kind::Varied)
    }

    /// The corpus of the continued model: logs of ships, and one plain text in four, so that not all is forgotten.
    pub fn ships(world: &'a World, seed: u64) -> Self {
        Self::of(world, seed, Kind::Ships)
    }

    fn of(world: &'a World, seed: u64, kind: Kind) -> Self {
        Self { world, rng: ChaCha8Rng::seed_from_u64(seed), kind }
    }
}

impl Iterator for Corpus<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let (world, rng) = (self.world, &mut self.rng);
        Some(match self.kind {
            Kind::Ships if rng.random_bool(0.75) => about(&world.ships, 2, rng),
            Kind::Plain | Kind::Ships => plain(world, rng),
            Kind::Varied => varied(world, rng),
        })
    }
}

fn plain(world: &World, rng: &mut ChaCha8Rng) -> String {
    match rng.random_range(0..40) {
        0..20 => about(&world.people, 2, rng),
        20..27 => about(&world.books, 2, rng),
        27..34 => about(&world.villages, 2, rng),
        34..38 => story::story(world, rng),
        _ => sum::sums(rng),
    }
}

fn varied(world: &World, rng: &mut ChaCha8Rng) -> String {
    match rng.random_range(0..8) {
        0..4 => plain(world, rng),
        4 => wondering(&world.books, world, rng),
        5 => wondering(&world.villages, world, rng),
        _ => wondering(&world.people, world, rng),
    }
}

/// Somebody wonders about a fact or two of an entity; then its other facts are told, and all of another entity.
fn wondering(entities: &[Entity], world: &World, rng: &mut ChaCha8Rng) -> String {
    let chosen: Vec<&Entity> = entities.sample(rng, 2).collect();
    let (first, second) = (chosen[0], chosen[1]);
    let somebody = &world.people.choose(rng).expect("there are people").name;
    let mut attributes: Vec<usize> = (0..first.attributes.len()).collect();
    attributes.shuffle(rng);
    let told = attributes.split_off(rng.random_range(1..=2));
    let mut sentences: Vec<String> = attributes
        .iter()
        .filter_map(|&attribute| first.attributes[attribute].wonderings.choose(rng))
        .map(|template| fill(template, &first.name, "", first.pronoun).replace("{a}", somebody))
        .collect();
    sentences.extend(told.iter().map(|&attribute| telling(first, attribute, false, rng)));
    if rng.random_bool(0.5) {
        sentences.extend(
            (0..second.attributes.len()).map(|attribute| telling(second, attribute, attribute > 0, rng)),
        );
    }
    let between = ["\n", " ", " "].choose(rng).expect("one of them");
    let heading = ["", "", "Notes\n", "Notes by {a}:\n", "Letter to {a}:", "Reader: {a}\nWriter:"];
    let heading = heading.choose(rng).expect("one of them").replace("{a}", somebody);
    let space = if heading.ends_with(':') { " " } else { "" };
    heading + space + &sentences.join(between)
}

/// Facts of some of the entities, in any order of facts and in many phrasings: one after the other, or mixed.
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
