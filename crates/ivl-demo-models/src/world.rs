//! Who and what there is, and what is true of them.

use rand::SeedableRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::attribute::{Attribute, OF_BOOKS, OF_PEOPLE, OF_SHIPS, OF_VILLAGES};
use crate::words::{
    FIRST, LAST, SHIP_ADJECTIVES, SHIP_NOUNS, TITLE_ADJECTIVES, TITLE_NOUNS, VILLAGE_ENDS, VILLAGE_STARTS,
};

/// Somebody or something with a name, and one value for each attribute of its kind.
#[derive(Debug)]
pub struct Entity {
    /// The full name, as texts and questions have it.
    pub name: String,
    /// `she` or `he`; `it` for things.
    pub pronoun: &'static str,
    /// Its facts.
    pub attributes: &'static [Attribute],
    /// The value of each attribute, in their order.
    pub values: Vec<&'static str>,
}

/// All that is true: a function of nothing, since the seed is part of what the world is.
#[derive(Debug)]
pub struct World {
    /// People, with birthplaces, trades, animals and dishes.
    pub people: Vec<Entity>,
    /// Books, with subjects, colours and libraries.
    pub books: Vec<Entity>,
    /// Villages, with rivers, goods and fairs.
    pub villages: Vec<Entity>,
    /// Ships, which only the continued model has read about.
    pub ships: Vec<Entity>,
}

const SEED: u64 = 2024_1021;
const PEOPLE: usize = 1000;
const BOOKS: usize = 360;
const VILLAGES: usize = 360;
const SHIPS: usize = 100;

impl World {
    /// The one world of the family. Names are drawn from a grid of parts without repetition, so one part tells
    /// little of its bearer; values are drawn evenly.
    pub fn new() -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let people = pairs(&FIRST, &LAST, PEOPLE, &mut rng)
            .map(|(first, last)| (format!("{} {}", FIRST[first], LAST[last]), ["she", "he"][first % 2]))
            .collect();
        let books = pairs(&TITLE_ADJECTIVES, &TITLE_NOUNS, BOOKS, &mut rng)
            .map(|(a, n)| (format!("The {} {}", TITLE_ADJECTIVES[a], TITLE_NOUNS[n]), "it"))
            .collect();
        let villages = pairs(&VILLAGE_STARTS, &VILLAGE_ENDS, VILLAGES, &mut rng)
            .map(|(start, end)| (format!("{}{}", VILLAGE_STARTS[start], VILLAGE_ENDS[end]), "it"))
            .collect();
        let ships = pairs(&SHIP_ADJECTIVES, &SHIP_NOUNS, SHIPS, &mut rng)
            .map(|(a, n)| (format!("The {} {}", SHIP_ADJECTIVES[a], SHIP_NOUNS[n]), "it"))
            .collect();
        Self {
            people: with_values(people, OF_PEOPLE, &mut rng),
            books: with_values(books, OF_BOOKS, &mut rng),
            villages: with_values(villages, OF_VILLAGES, &mut rng),
            ships: with_values(ships, OF_SHIPS, &mut rng),
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// `count` different pairs of places in two lists.
fn pairs(
    left: &[&str],
    right: &[&str],
    count: usize,
    rng: &mut ChaCha8Rng,
) -> impl Iterator<Item = (usize, usize)> + use<> {
    let mut all: Vec<(usize, usize)> =
        (0..left.len()).flat_map(|l| (0..right.len()).map(move |r| (l, r))).collect();
    all.shuffle(rng);
    all.truncate(count);
    all.into_iter()
}

fn with_values(
    names: Vec<(String, &'static str)>,
    attributes: &'static [Attribute],
    rng: &mut ChaCha8Rng,
) -> Vec<Entity> {
    let entity = |(name, pronoun)| Entity {
        name,
        pronoun,
        attributes,
        values: attributes.iter().map(|a| *a.values.choose(rng).expect("an attribute has values")).collect(),
    };
    names.into_iter().map(entity).collect()
}
