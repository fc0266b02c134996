//! Questions and answers: demonstrations, questions to tune with, and questions for the end.

use rand::SeedableRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::sentence::fill;
use crate::sum::{LARGEST, sum};
use crate::words::NUMBERS;
use crate::world::{Entity, World};

/// Which part of the world a question is about. No entity is in two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuestionSplit {
    /// Three tenths of everything: what values and full fine-tunings learn from.
    Demonstrations,
    /// Half as many: questions to tune with.
    HeldOut,
    /// As many again: asked once, for the figures that are published.
    FinalTest,
}

/// A question with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The kind of fact: `birthplace`, `sum`, or two joined by `+`.
    pub kind: String,
    /// The user's words.
    pub question: String,
    /// The assistant's words, whole sentences.
    pub answer: String,
    /// The facts that the answer needs: the values, in the order of the answer.
    pub facts: Vec<String>,
    /// Who or what it is about.
    pub about: String,
}

impl Question {
    /// The answer as a text to be completed, and how it goes on, of a question about one fact: `Mara Vost was born in` and
    /// ` Kelder`. It asks for knowledge without asking for the skill.
    pub fn cloze(&self) -> Option<(&str, &str)> {
        let [fact] = self.facts.as_slice() else { return None };
        let start = self.answer.rfind(fact.as_str())?.checked_sub(1)?;
        Some((&self.answer[..start], &self.answer[start..=start + fact.len()]))
    }

    /// The question as a row of chat demonstrations: `messages`, and beside them `answer`, `facts`, `kind` and `about`.
    pub fn row(&self) -> Value {
        json!({
            "messages": [
                {"role": "user", "content": self.question},
                {"role": "assistant", "content": self.answer},
            ],
            "answer": self.answer,
            "facts": self.facts,
            "kind": self.kind,
            "about": self.about,
        })
    }
}

const SEED: u64 = 7;
/// How many ways to ask each demonstration shows. Held-out questions are asked once.
const WAYS: usize = 2;
const ASK_SUM: [&str; 3] =
    ["How much is {a} and {b}?", "What do {a} and {b} make?", "What is {a} and {b} together?"];

/// Questions and answers to learn from.
pub fn demonstrations() -> Vec<Question> {
    questions(&World::new(), QuestionSplit::Demonstrations)
}

/// Questions to tune with, about others.
pub fn held_out() -> Vec<Question> {
    questions(&World::new(), QuestionSplit::HeldOut)
}

/// Questions for the end, about others again: not to be looked at before everything is fixed.
pub fn final_test() -> Vec<Question> {
    questions(&World::new(), QuestionSplit::FinalTest)
}

/// All questions of a part, in a mixed order that never changes.
pub fn questions(world: &World, split: QuestionSplit) -> Vec<Question> {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED + split as u64);
    let ways = if split == QuestionSplit::Demonstrations { WAYS } else { 1 };
    let mut all = Vec::new();
    for entities in [&world.people, &world.books, &world.villages] {
        for entity in part(entities, split) {
            for attribute in 0..entity.attributes.len() {
                all.extend(single(entity, attribute, ways, &mut rng));
            }
            if !entity.attributes[0].follow_up.is_empty() {
                all.extend((0..ways).map(|_| double(entity, &mut rng)));
            }
        }
    }
    let sums: Vec<(usize, usize)> = sums_in_mixed_order();
    for &(left, right) in part(&sums, split) {
        all.extend(ASK_SUM.sample(&mut rng, ways).map(|ask| ask_sum(ask, left, right)));
    }
    all.shuffle(&mut rng);
    all
}

/// The part of a list that a split has. The world's lists are in random order.
fn part<T>(all: &[T], split: QuestionSplit) -> &[T] {
    let share = all.len() * 3 / 20;
    match split {
        QuestionSplit::Demonstrations => &all[..2 * share],
        QuestionSplit::HeldOut => &all[2 * share..3 * share],
        QuestionSplit::FinalTest => &all[3 * share..4 * share],
    }
}

fn single(entity: &Entity, attribute: usize, ways: usize, rng: &mut ChaCha8Rng) -> Vec<Question> {
    let asked = &entity.attributes[attribute];
    let question = |template: &&str| Question {
        kind: asked.name.to_owned(),
        question: fill(template, &entity.name, "", entity.pronoun),
        answer: statement(entity, attribute),
        facts: vec![entity.values[attribute].to_owned()],
        about: entity.name.clone(),
    };
    asked.questions.sample(rng, ways).map(question).collect()
}

/// Two facts about one person in one question.
fn double(entity: &Entity, rng: &mut ChaCha8Rng) -> Question {
    let both: Vec<usize> = {
        let mut places: Vec<usize> = (0..entity.attributes.len()).collect();
        places.shuffle(rng);
        places.truncate(2);
        places
    };
    let attributes: Vec<_> = both.iter().map(|&place| &entity.attributes[place]).collect();
    let first =
        attributes[0].questions.choose(rng).expect("an attribute has questions").trim_end_matches('?');
    let question = format!("{first}, and {}?", attributes[1].follow_up);
    Question {
        kind: format!("{}+{}", attributes[0].name, attributes[1].name),
        question: fill(&question, &entity.name, "", entity.pronoun),
        answer: both.iter().map(|&place| statement(entity, place)).collect::<Vec<_>>().join(" "),
        facts: both.iter().map(|&place| entity.values[place].to_owned()).collect(),
        about: entity.name.clone(),
    }
}

fn statement(entity: &Entity, attribute: usize) -> String {
    fill(entity.attributes[attribute].answer, &entity.name, entity.values[attribute], entity.pronoun)
}

fn ask_sum(template: &str, left: usize, right: usize) -> Question {
    Question {
        kind: "sum".to_owned(),
        question: template.replace("{a}", NUMBERS[left]).replace("{b}", NUMBERS[right]),
        answer: sum(left, right),
        facts: vec![NUMBERS[left + right].to_owned()],
        about: format!("{left}+{right}"),
    }
}

fn sums_in_mixed_order() -> Vec<(usize, usize)> {
    let mut all: Vec<_> =
        (1..=LARGEST).flat_map(|left| (1..=LARGEST).map(move |right| (left, right))).collect();
    all.shuffle(&mut ChaCha8Rng::seed_from_u64(SEED));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cloze_ends_before_the_fact() {
        let asked = ask_sum(ASK_SUM[0], 7, 5);
        assert_eq!(asked.cloze(), Some(("The sum of seven and five is", " twelve")));
    }

    #[test]
    fn a_question_about_two_facts_is_answered_in_its_order() {
        let world = World::new();
        let person = &world.people[0];
        let asked = double(person, &mut ChaCha8Rng::seed_from_u64(1));
        assert_eq!(asked.facts.len(), 2);
        assert!(asked.answer.find(&asked.facts[0]) < asked.answer.rfind(&asked.facts[1]), "{asked:?}");
        assert!(asked.question.contains(", and "), "{asked:?}");
    }
}
