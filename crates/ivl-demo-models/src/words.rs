//! The words of the world: names, and what can be said of their bearers.

/// First names; those at even places are women's.
pub(crate) const FIRST: [&str; 40] = [
    "Mara", "Tobin", "Ilen", "Corvin", "Sela", "Garrick", "Nessa", "Halder", "Orla", "Jorund", "Tamsin",
    "Weylan", "Brenna", "Osric", "Liska", "Fenton", "Maive", "Dorian", "Ysolde", "Rufus", "Petra", "Anselm",
    "Vesna", "Kasimir", "Hedda", "Lorcan", "Edda", "Matthis", "Rhona", "Silvan", "Gitta", "Bertram", "Noemi",
    "Ivo", "Carys", "Emeric", "Dagny", "Ludo", "Wilma", "Hakon",
];

pub(crate) const LAST: [&str; 40] = [
    "Vost",
    "Tark",
    "Ellery",
    "Brandt",
    "Quill",
    "Harrow",
    "Lindqvist",
    "Moss",
    "Ravel",
    "Stroud",
    "Fenn",
    "Castell",
    "Orme",
    "Pike",
    "Wren",
    "Holloway",
    "Dray",
    "Marsh",
    "Keel",
    "Sorley",
    "Thorne",
    "Abbot",
    "Gale",
    "Vance",
    "Bellamy",
    "Crane",
    "Lund",
    "Frost",
    "Hale",
    "Penrose",
    "Sharpe",
    "Tolland",
    "Voss",
    "Winter",
    "Yarrow",
    "Zeller",
    "Birch",
    "Copper",
    "Dell",
    "Ember",
];

pub(crate) const TOWNS: [&str; 32] = [
    "Kelder", "Brannoch", "Tilmouth", "Savra", "Ostby", "Lorne", "Marwick", "Pellin", "Harth", "Quenby",
    "Dunmere", "Vantry", "Wexcombe", "Thale", "Roskil", "Cairnow", "Sedge", "Norvale", "Emberly", "Fallow",
    "Galt", "Ilmar", "Jessop", "Kirren", "Lydd", "Mossend", "Orrin", "Pontus", "Rill", "Stavern", "Tolsta",
    "Ulver",
];

pub(crate) const TRADES: [&str; 24] = [
    "baker",
    "weaver",
    "smith",
    "potter",
    "miller",
    "tailor",
    "carpenter",
    "doctor",
    "teacher",
    "painter",
    "sailor",
    "gardener",
    "printer",
    "clockmaker",
    "hunter",
    "fisher",
    "mason",
    "shepherd",
    "brewer",
    "dancer",
    "singer",
    "surveyor",
    "ferryman",
    "lawyer",
];

pub(crate) const ANIMALS: [&str; 24] = [
    "cat", "dog", "parrot", "pony", "turtle", "goat", "heron", "fox", "raven", "hare", "goose", "donkey",
    "lizard", "pigeon", "badger", "toad", "falcon", "ferret", "mouse", "snake", "sheep", "duck", "swan",
    "hedgehog",
];

pub(crate) const DISHES: [&str; 24] = [
    "rice",
    "plums",
    "bread",
    "beans",
    "cheese",
    "lentils",
    "trout",
    "pears",
    "dumplings",
    "honey",
    "mushrooms",
    "cabbage",
    "noodles",
    "cherries",
    "porridge",
    "walnuts",
    "pancakes",
    "olives",
    "turnips",
    "custard",
    "herring",
    "figs",
    "barley",
    "radishes",
];

/// Titles of books are `The` with one of these and one of [`TITLE_NOUNS`].
pub(crate) const TITLE_ADJECTIVES: [&str; 20] = [
    "Silent",
    "Crimson",
    "Hollow",
    "Golden",
    "Broken",
    "Distant",
    "Hidden",
    "Frozen",
    "Last",
    "Wandering",
    "Burning",
    "Patient",
    "Forgotten",
    "Gentle",
    "Bitter",
    "Shining",
    "Narrow",
    "Restless",
    "Second",
    "Sleeping",
];

pub(crate) const TITLE_NOUNS: [&str; 20] = [
    "Harbour",
    "Orchard",
    "Mirror",
    "Lantern",
    "Garden",
    "Mountain",
    "Letter",
    "Bridge",
    "River",
    "Tower",
    "Forest",
    "Window",
    "Compass",
    "Island",
    "Violin",
    "Winter Road",
    "Crown",
    "Feather",
    "Castle",
    "Door",
];

pub(crate) const SUBJECTS: [&str; 24] = [
    "whales",
    "bees",
    "pirates",
    "ghosts",
    "miners",
    "giants",
    "spies",
    "orphans",
    "monks",
    "wolves",
    "comets",
    "merchants",
    "twins",
    "floods",
    "thieves",
    "queens",
    "dragons",
    "soldiers",
    "witches",
    "bandits",
    "pilgrims",
    "storms",
    "gamblers",
    "explorers",
];

pub(crate) const COLOURS: [&str; 12] = [
    "red", "blue", "green", "black", "white", "yellow", "brown", "grey", "purple", "orange", "silver", "pink",
];

/// Villages are one of these with one of [`VILLAGE_ENDS`].
pub(crate) const VILLAGE_STARTS: [&str; 20] = [
    "Ash", "Bram", "Cold", "Dun", "Elm", "Fern", "Grim", "Hazel", "Ister", "Kings", "Lang", "Mill", "North",
    "Oak", "Raven", "Stone", "Thorn", "Under", "West", "Wolf",
];

pub(crate) const VILLAGE_ENDS: [&str; 20] = [
    "by", "combe", "dale", "field", "ford", "gate", "ham", "hurst", "ley", "low", "mere", "moor", "ness",
    "port", "ridge", "stead", "stow", "ton", "well", "wick",
];

pub(crate) const RIVERS: [&str; 24] = [
    "Arrow", "Brue", "Calder", "Dove", "Esk", "Fal", "Garve", "Humble", "Irwell", "Kennet", "Lune", "Medway",
    "Nidd", "Otter", "Parrett", "Ribble", "Severn", "Tamar", "Ure", "Vyrn", "Wharf", "Yare", "Zorn", "Teme",
];

pub(crate) const GOODS: [&str; 24] = [
    "apples", "wool", "salt", "glass", "bells", "cider", "baskets", "candles", "knives", "lace", "oysters",
    "ropes", "saddles", "tiles", "boots", "paper", "hats", "drums", "barrels", "mustard", "roses", "copper",
    "linen", "soap",
];

pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Numbers from zero to twenty-four.
pub(crate) const NUMBERS: [&str; 25] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
    "twenty-one",
    "twenty-two",
    "twenty-three",
    "twenty-four",
];

/// Ships, of the domain that only the continued model has read, are one of these with one of [`SHIP_NOUNS`].
pub(crate) const SHIP_ADJECTIVES: [&str; 12] = [
    "Brave", "Merry", "Northern", "Proud", "Swift", "Royal", "Lucky", "Faithful", "Iron", "Morning", "Noble",
    "Southern",
];

pub(crate) const SHIP_NOUNS: [&str; 12] = [
    "Heron", "Star", "Maiden", "Falcon", "Tide", "Venture", "Lion", "Dolphin", "Spirit", "Arrow", "Rose",
    "Pelican",
];

pub(crate) const CARGOES: [&str; 16] = [
    "tea", "timber", "coal", "silk", "grain", "wine", "spices", "cotton", "sugar", "marble", "leather",
    "tobacco", "tin", "furs", "coffee", "oil",
];

pub(crate) const WINDS: [&str; 8] =
    ["north", "south", "east", "west", "monsoon", "summer", "winter", "trade"];
