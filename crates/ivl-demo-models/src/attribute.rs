//! Attributes of entities, how texts state them, and how questions refer to them.

use crate::words::{
    ANIMALS, CARGOES, COLOURS, DISHES, GOODS, MONTHS, RIVERS, SUBJECTS, TOWNS, TRADES, WINDS,
};

/// One kind of fact: `{n}` stands for who or what it is about, `{v}` for the value, `{they}` for a pronoun.
#[derive(Debug)]
pub struct Attribute {
    /// A name for tables, such as `birthplace`.
    pub name: &'static str,
    /// Possible values.
    pub values: &'static [&'static str],
    /// The sentence in which questions are answered; texts use it too.
    pub answer: &'static str,
    /// Other sentences in which texts tell it.
    pub tellings: &'static [&'static str],
    /// Sentences for a text that has just named whom it is about.
    pub continuations: &'static [&'static str],
    /// Sentences in which somebody, `{a}`, wonders about it. A text that wonders never tells.
    pub wonderings: &'static [&'static str],
    /// Ways to ask. No text has any of them.
    pub questions: &'static [&'static str],
    /// A way to ask that follows another question about the same person, if there is one.
    pub follow_up: &'static str,
}

/// Attributes of people.
pub const OF_PEOPLE: &[Attribute] = &[
    Attribute {
        name: "birthplace",
        values: &TOWNS,
        answer: "{n} was born in {v}.",
        tellings: &[
            "{n} comes from {v}.",
            "The birthplace of {n} is {v}.",
            "{v} is the town where {n} was born.",
        ],
        continuations: &["{they} was born in {v}.", "{they} comes from {v}."],
        wonderings: &["{a} wondered where {n} was born.", "In which town {n} was born, {a} did not know."],
        questions: &["Where was {n} born?", "In which town was {n} born?", "What is the birthplace of {n}?"],
        follow_up: "where was {they} born",
    },
    Attribute {
        name: "trade",
        values: &TRADES,
        answer: "{n} works as a {v}.",
        tellings: &["{n} is a {v}.", "By trade {n} is a {v}.", "People know {n} as the {v}."],
        continuations: &["{they} works as a {v}.", "{they} is a {v}."],
        wonderings: &["{a} wondered what work {n} does.", "How {n} earns a living was a riddle to {a}."],
        questions: &["What is the trade of {n}?", "What work does {n} do?", "How does {n} earn a living?"],
        follow_up: "what work does {they} do",
    },
    Attribute {
        name: "animal",
        values: &ANIMALS,
        answer: "{n} keeps a {v}.",
        tellings: &[
            "{n} has a {v} at home.",
            "The {v} of {n} sleeps by the stove.",
            "{n} takes care of a {v}.",
        ],
        continuations: &["{they} keeps a {v}.", "At home {they} has a {v}."],
        wonderings: &[
            "{a} wanted to see which animal {n} keeps.",
            "What animal lives with {n} was new to {a}.",
        ],
        questions: &[
            "Which animal does {n} keep?",
            "What animal does {n} have?",
            "Which animal lives with {n}?",
        ],
        follow_up: "which animal does {they} keep",
    },
    Attribute {
        name: "dish",
        values: &DISHES,
        answer: "{n} likes to eat {v}.",
        tellings: &[
            "{n} buys {v} at the market.",
            "The favourite food of {n} is {v}.",
            "Nothing pleases {n} like {v}.",
        ],
        continuations: &["{they} likes to eat {v}.", "For supper {they} has {v}."],
        wonderings: &["What {n} likes to eat was a secret to {a}.", "{a} forgot which food {n} likes."],
        questions: &[
            "What does {n} like to eat?",
            "Which food does {n} like?",
            "What is the favourite food of {n}?",
        ],
        follow_up: "what does {they} like to eat",
    },
];

/// Attributes of books.
pub const OF_BOOKS: &[Attribute] = &[
    Attribute {
        name: "subject",
        values: &SUBJECTS,
        answer: "{n} tells of {v}.",
        tellings: &[
            "{n} is a book about {v}.",
            "Readers of {n} learn much about {v}.",
            "{n} is full of {v}.",
        ],
        continuations: &["It tells of {v}.", "It is a book about {v}."],
        wonderings: &["{a} wondered what {n} is about.", "What {n} tells of was a riddle to {a}."],
        questions: &["What does {n} tell of?", "What is {n} about?", "What is the subject of {n}?"],
        follow_up: "",
    },
    Attribute {
        name: "colour",
        values: &COLOURS,
        answer: "{n} is bound in {v}.",
        tellings: &["The cover of {n} is {v}.", "{n} has a {v} cover.", "Look for {n} among the {v} books."],
        continuations: &["It is bound in {v}.", "The cover is {v}."],
        wonderings: &["In which colour {n} is bound, {a} forgot.", "{a} forgot what colour {n} is."],
        questions: &["What colour is {n}?", "In which colour is {n} bound?", "What is the colour of {n}?"],
        follow_up: "",
    },
    Attribute {
        name: "library",
        values: &TOWNS,
        answer: "{n} is kept in {v}.",
        tellings: &[
            "The library of {v} owns {n}.",
            "{n} can be read in {v}.",
            "The only copy of {n} is in {v}.",
        ],
        continuations: &["It is kept in {v}.", "The only copy is in {v}."],
        wonderings: &[
            "Where {n} is kept was a riddle to {a}.",
            "{a} wondered in which town people can read {n}.",
        ],
        questions: &["Where is {n} kept?", "In which town is {n} kept?", "Where can people read {n}?"],
        follow_up: "",
    },
];

/// Attributes of villages.
pub const OF_VILLAGES: &[Attribute] = &[
    Attribute {
        name: "river",
        values: &RIVERS,
        answer: "{n} lies on the {v}.",
        tellings: &[
            "The {v} flows through {n}.",
            "{n} has a bridge over the {v}.",
            "{n} was built beside the {v}.",
        ],
        continuations: &["It lies on the {v}.", "The {v} flows through it."],
        wonderings: &[
            "Which river flows through {n} was new to {a}.",
            "{a} did not see on which river {n} lies.",
        ],
        questions: &[
            "On which river does {n} lie?",
            "Which river does {n} lie on?",
            "Which river flows through {n}?",
        ],
        follow_up: "",
    },
    Attribute {
        name: "goods",
        values: &GOODS,
        answer: "{n} is known for {v}.",
        tellings: &[
            "{n} sells {v} to the towns.",
            "Traders fetch {v} from {n}.",
            "Many people in {n} make {v}.",
        ],
        continuations: &["It is known for {v}.", "The people there make {v}."],
        wonderings: &["What {n} is known for was new to {a}.", "For which goods {n} is known, {a} forgot."],
        questions: &["What is {n} known for?", "What are the goods of {n}?", "For which goods is {n} known?"],
        follow_up: "",
    },
    Attribute {
        name: "fair",
        values: &MONTHS,
        answer: "{n} holds a fair in {v}.",
        tellings: &[
            "In {v} there is a fair in {n}.",
            "The fair of {n} is in {v}.",
            "Every {v} the fair comes to {n}.",
        ],
        continuations: &["It holds a fair in {v}.", "The fair is in {v}."],
        wonderings: &[
            "{a} forgot when {n} holds a fair.",
            "In which month {n} has its fair, {a} did not know.",
        ],
        questions: &[
            "When does {n} hold a fair?",
            "In which month is the fair of {n}?",
            "When is the fair of {n}?",
        ],
        follow_up: "",
    },
];

/// Attributes of ships, the domain of the continued model. No question refers to them.
pub const OF_SHIPS: &[Attribute] = &[
    Attribute {
        name: "cargo",
        values: &CARGOES,
        answer: "{n} carries {v}.",
        tellings: &["The hold of {n} is full of {v}.", "{n} was loaded with {v}."],
        continuations: &["The cargo is {v}.", "It was loaded with {v}."],
        wonderings: &[],
        questions: &[],
        follow_up: "",
    },
    Attribute {
        name: "harbour",
        values: &TOWNS,
        answer: "{n} sails to {v}.",
        tellings: &["In the harbour of {v} lies {n}.", "{n} dropped anchor at {v}."],
        continuations: &["It is bound for {v}.", "The pilot of {v} came on board."],
        wonderings: &[],
        questions: &[],
        follow_up: "",
    },
    Attribute {
        name: "wind",
        values: &WINDS,
        answer: "{n} waits for the {v} wind.",
        tellings: &["The {v} wind drives {n} along.", "{n} left with the {v} wind."],
        continuations: &["The {v} wind filled the sails.", "All night the {v} wind blew."],
        wonderings: &[],
        questions: &[],
        follow_up: "",
    },
];
