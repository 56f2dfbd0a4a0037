//! The words that made-up customers are made of.

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

#[derive(Clone, Copy)]
pub(super) struct City {
    pub(super) name: &'static str,
    pub(super) state: &'static str,
    /// The first three digits of its ZIP codes.
    pub(super) zip: &'static str,
}

pub(super) const CITIES: [City; 12] = [
    City { name: "Springfield", state: "IL", zip: "627" },
    City { name: "Portland", state: "OR", zip: "972" },
    City { name: "Austin", state: "TX", zip: "787" },
    City { name: "Madison", state: "WI", zip: "537" },
    City { name: "Boulder", state: "CO", zip: "803" },
    City { name: "Savannah", state: "GA", zip: "314" },
    City { name: "Ithaca", state: "NY", zip: "148" },
    City { name: "Tucson", state: "AZ", zip: "857" },
    City { name: "Duluth", state: "MN", zip: "558" },
    City { name: "Asheville", state: "NC", zip: "288" },
    City { name: "Burlington", state: "VT", zip: "054" },
    City { name: "Spokane", state: "WA", zip: "992" },
];

/// Area codes. The numbers 555-0100 to 555-0199 behind each are reserved for fiction.
pub(super) const AREAS: [u16; 12] = [217, 503, 512, 608, 303, 912, 607, 520, 218, 828, 802, 509];

/// The first three bytes of MAC addresses.
pub(super) const MAKERS: [&str; 4] = ["A4:CF:12", "3C:6A:9D", "DC:A6:32", "F0:9F:C2"];

pub(super) const LANGUAGES: [&str; 5] = ["en", "de", "es", "fr", "pt-BR"];

pub(super) const PLANS: [&str; 3] = ["basic", "plus", "premium"];
