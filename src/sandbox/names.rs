//! The words that made-up customers are made of.
//!
//! Pure: no clock, no I/O.

pub(super) const FIRST: [&str; 24] = [
    "Ada", "Amir", "Björn", "Carla", "Chloé", "Dmitri", "Elena", "Fatima", "George", "Hannah",
    "Ibrahim", "Jin", "Kwame", "Lucía", "Mara", "Noah", "Olga", "Priya", "Quinn", "Rosa", "Samuel",
    "Tomás", "Yuki", "Zoë",
];

pub(super) const LAST: [&str; 24] = [
    "Abbott",
    "Brandt",
    "Castillo",
    "Dubois",
    "Eriksen",
    "Fischer",
    "García",
    "Hughes",
    "Ivanov",
    "Jensen",
    "Kowalski",
    "Lindqvist",
    "Müller",
    "Nakamura",
    "O'Brien",
    "Okafor",
    "Patel",
    "Quispe",
    "Rossi",
    "Sørensen",
    "Tanaka",
    "Varga",
    "Walker",
    "Young",
];

pub(super) const STREETS: [&str; 16] = [
    "Main St",
    "Oak Ave",
    "Maple Dr",
    "Cedar Ln",
    "Elm St",
    "Washington Blvd",
    "Lake Rd",
    "2nd St",
    "Hillcrest Ave",
    "Park Pl",
    "River Rd",
    "Church St",
    "Sunset Dr",
    "Mill Ln",
    "Chestnut St",
    "Highland Ave",
];

/// Cities with their state and the first three digits of their ZIP codes.
pub(super) const CITIES: [(&str, &str, &str); 12] = [
    ("Springfield", "IL", "627"),
    ("Portland", "OR", "972"),
    ("Austin", "TX", "787"),
    ("Madison", "WI", "537"),
    ("Boulder", "CO", "803"),
    ("Savannah", "GA", "314"),
    ("Ithaca", "NY", "148"),
    ("Tucson", "AZ", "857"),
    ("Duluth", "MN", "558"),
    ("Asheville", "NC", "288"),
    ("Burlington", "VT", "054"),
    ("Spokane", "WA", "992"),
];

/// Area codes. The numbers 555-0100 to 555-0199 behind each are reserved for fiction.
pub(super) const AREAS: [u16; 12] = [217, 503, 512, 608, 303, 912, 607, 520, 218, 828, 802, 509];

/// The first three bytes of MAC addresses.
pub(super) const MAKERS: [&str; 4] = ["A4:CF:12", "3C:6A:9D", "DC:A6:32", "F0:9F:C2"];

pub(super) const LANGUAGES: [&str; 5] = ["en", "de", "es", "fr", "pt-BR"];

pub(super) const PLANS: [&str; 3] = ["basic", "plus", "premium"];
