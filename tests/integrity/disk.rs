//! What a disk may hold after a power cut: everything that was synced, and of the rest whatever a
//! cache happened to have written by then.
//!
//! Pure: no clock, no I/O; chance is an argument.

use std::collections::BTreeMap;

use fastrand::Rng;

use crate::recorder::{Event, Part};

/// What a disk writes as a whole or not at all. SQLite relies on neighbors being left alone.
const SECTOR: usize = 512;

/// The content of the files that a disk holds.
pub(crate) type Files = BTreeMap<Part, Vec<u8>>;

/// What the cache of the operating system had written of a file when the power went.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Written {
    /// All of it: what a killed process leaves.
    All,
    /// Nothing since the last sync.
    Synced,
    /// What came first, up to any sector.
    First,
    /// What came last, from any sector on.
    Last,
    /// Any sectors, this share of them.
    Some(f64),
}

impl Written {
    pub(crate) fn any(chance: &mut Rng) -> Self {
        match chance.u8(..8) {
            0 => Self::All,
            1 => Self::Synced,
            2 => Self::First,
            3 => Self::Last,
            4 => Self::Some(0.1),
            5 => Self::Some(0.9),
            _ => Self::Some(0.5),
        }
    }
}

/// Which syncs a disk honors; a disk that honors fewer shows what the others are good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syncs {
    All,
    /// All but those by which a commit becomes durable: SQLite's `synchronous=NORMAL`.
    NotOfCommits,
    /// `synchronous=OFF`.
    None,
}

/// A file: what is safe of it, and what was done since.
#[derive(Clone, Debug, Default)]
struct File {
    safe: Vec<u8>,
    since: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Box<[u8]> },
    Truncate(usize),
}

/// A disk on which one event after the other takes place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    files: Vec<File>,
    /// The file behind each name, as far as that is safe.
    names: BTreeMap<Part, usize>,
    /// Names given and taken away since.
    renames: Vec<(Part, Option<usize>)>,
}

impl Disk {
    /// `next` is the event that follows, which tells a commit's sync from others.
    pub(crate) fn apply(&mut self, event: &Event, next: Option<&Event>, syncs: Syncs) {
        match event {
            Event::Create(part) => {
                self.files.push(File::default());
                self.renames.push((*part, Some(self.files.len() - 1)));
            }
            Event::Delete(part) => self.renames.push((*part, None)),
            Event::Write { part, offset, bytes } => {
                let change = Change::Write { offset: *offset, bytes: bytes.clone() };
                self.file(*part).since.push(change);
            }
            Event::Truncate(part, size) => self.file(*part).since.push(Change::Truncate(*size)),
            Event::Sync(part) => {
                let of_commit = *part == Part::Log && matches!(next, Some(Event::Visible));
                if syncs == Syncs::All || (syncs == Syncs::NotOfCommits && !of_commit) {
                    let file = self.file(*part);
                    for change in std::mem::take(&mut file.since) {
                        change.apply(&mut file.safe);
                    }
                }
            }
            Event::SyncFolder if syncs != Syncs::None => {
                for (part, file) in std::mem::take(&mut self.renames) {
                    rename(&mut self.names, part, file);
                }
            }
            Event::SyncFolder | Event::Visible => {}
        }
    }

    fn file(&mut self, part: Part) -> &mut File {
        let mut names = self.names.clone();
        for (part, file) in &self.renames {
            rename(&mut names, *part, *file);
        }
        &mut self.files[names[&part]]
    }

    /// What the disk holds if everything gets written.
    pub(crate) fn whole(&self) -> Files {
        self.cut(Written::All, &mut Rng::with_seed(0))
    }

    /// What the disk may hold if the power goes now.
    pub(crate) fn cut(&self, written: Written, chance: &mut Rng) -> Files {
        let mut names = self.names.clone();
        let kept = kept(written, self.renames.len(), chance);
        for ((part, file), kept) in self.renames.iter().zip(kept) {
            if kept {
                rename(&mut names, *part, *file);
            }
        }
        names
            .into_iter()
            .map(|(part, file)| (part, self.files[file].cut(written, chance)))
            .collect()
    }
}

fn rename(names: &mut BTreeMap<Part, usize>, part: Part, file: Option<usize>) {
    match file {
        Some(file) => names.insert(part, file),
        None => names.remove(&part),
    };
}

impl File {
    fn cut(&self, written: Written, chance: &mut Rng) -> Vec<u8> {
        let pieces: Vec<Change> = self.since.iter().flat_map(Change::by_sectors).collect();
        let mut bytes = self.safe.clone();
        let kept = kept(written, pieces.len(), chance);
        for (piece, _) in pieces.iter().zip(kept).filter(|(_, kept)| *kept) {
            piece.apply(&mut bytes);
        }
        bytes
    }
}

/// Which of so many changes, in their order, got written.
fn kept(written: Written, count: usize, chance: &mut Rng) -> Vec<bool> {
    let border = chance.usize(..=count);
    let mut kept = |at: usize| match written {
        Written::All => true,
        Written::Synced => false,
        Written::First => at < border,
        Written::Last => at >= border,
        Written::Some(share) => chance.f64() < share,
    };
    (0..count).map(&mut kept).collect()
}

impl Change {
    /// The parts of it that get written independently of each other.
    fn by_sectors(&self) -> Vec<Self> {
        let Self::Write { offset, bytes } = self else { return vec![self.clone()] };
        let (mut at, mut rest, mut pieces) = (*offset, &bytes[..], Vec::new());
        while !rest.is_empty() {
            let (piece, later) = rest.split_at((SECTOR - at % SECTOR).min(rest.len()));
            pieces.push(Self::Write { offset: at, bytes: piece.into() });
            (at, rest) = (at + piece.len(), later);
        }
        pieces
    }

    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Truncate(size) => file.resize(*size, 0),
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[*offset..end].copy_from_slice(bytes);
            }
        }
    }
}

#[test]
fn a_disk_keeps_what_was_synced_and_any_sectors_of_the_rest() {
    let write = |offset, byte: u8| Event::Write {
        part: Part::Log,
        offset,
        bytes: vec![byte; SECTOR].into(),
    };
    let events = [
        Event::Create(Part::Log),
        write(0, 1),
        Event::Sync(Part::Log),
        Event::SyncFolder,
        write(0, 2),
        write(SECTOR, 3),
    ];
    let mut disk = Disk::default();
    assert_eq!(disk.cut(Written::All, &mut Rng::with_seed(1)), Files::new());
    for event in &events {
        disk.apply(event, None, Syncs::All);
    }
    let (mut chance, mut seen) = (Rng::with_seed(1), std::collections::BTreeSet::new());
    for _ in 0..100 {
        let files = disk.cut(Written::any(&mut chance), &mut chance);
        seen.insert(files[&Part::Log].iter().copied().step_by(SECTOR).collect::<Vec<_>>());
    }
    assert_eq!(seen, [vec![1], vec![2], vec![1, 3], vec![2, 3]].into());
}
