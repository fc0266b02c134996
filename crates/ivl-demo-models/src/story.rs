//! Small stories: people meet, and a text says who they are again and again. They teach to copy names, and no facts.

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use crate::world::World;

const BEGINNINGS: [&str; 8] = [
    "One morning {a} met {b} near {p}.",
    "Last winter {a} and {b} walked to {p}.",
    "{a} waited for {b} on the road to {p}.",
    "On the way to {p}, {a} saw {b}.",
    "It was raining in {p} when {a} found {b}.",
    "{a} wrote a letter to {b} from {p}.",
    "There was a feast in {p}, and {a} sat beside {b}.",
    "{a} asked {b} the way to {p}.",
];

const MIDDLES: [&str; 12] = [
    "{a} laughed, and {b} laughed too.",
    "{a} lent {t} to {b}.",
    "{b} gave {t} to {a}.",
    "{a} told {b} about {t}.",
    "Then {b} showed {a} the way to {p}.",
    "{a} and {b} talked all night about {t}.",
    "{b} had lost the key, and {a} found it.",
    "{b} was tired, but {a} sang a song.",
    "Soon {a} and {b} were good friends.",
    "{a} read {t} while {b} slept.",
    "In {p} everybody knows {a} and {b}.",
    "{b} thanked {a}.",
];

const ENDS: [&str; 6] = [
    "In the evening {a} went home.",
    "{a} never forgot {b}.",
    "So {a} and {b} came back to {p}.",
    "The next day {b} left.",
    "And {a} was happy.",
    "That is how {a} met {b}.",
];

/// Two people, a village and a book.
pub(crate) fn story(world: &World, rng: &mut ChaCha8Rng) -> String {
    let people: Vec<_> = world.people.sample(rng, 2).collect();
    let place = world.villages.choose(rng).expect("there are villages");
    let book = world.books.choose(rng).expect("there are books");
    let mut templates = vec![BEGINNINGS.choose(rng)];
    let middles = rng.random_range(3..6);
    templates.extend(MIDDLES.sample(rng, middles).map(Some));
    templates.push(ENDS.choose(rng));
    let (a, b) = (&people[0].name, &people[1].name);
    let sentences = templates.into_iter().flatten().map(|t| {
        t.replace("{a}", a).replace("{b}", b).replace("{p}", &place.name).replace("{t}", &book.name)
    });
    sentences.collect::<Vec<_>>().join(" ")
}
