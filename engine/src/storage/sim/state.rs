//! The content of the simulated disk: for each file the durable bytes and the pending operations, for each folder the
//! durable and the pending names. All changes are [`Effect`]s, so a history can be recorded and replayed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::content::Content;
use super::rng::{SimRng, mix};

/// A file or a folder, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Node {
    File(usize),
    Dir(usize),
}

/// The root folder's number.
pub(super) const ROOT: usize = 0;

/// A name in a folder.
pub(super) type Place = (usize, Arc<str>);

/// One change. Its effect depends only on the state and on itself.
#[derive(Debug, Clone)]
pub(super) enum Effect {
    /// The operation changed nothing: it failed, or its kind never does.
    Nothing,
    Bytes {
        file: usize,
        change: Change,
    },
    /// All pending bytes of the file become durable.
    Sync {
        file: usize,
    },
    /// The pending bytes never become durable, except for a chosen part that did; nothing is pending any more. If
    /// `drop_pages`, the cache loses them too.
    FailedSync {
        file: usize,
        drop_pages: bool,
        seed: u64,
    },
    CreateFile(Place),
    CreateDir(Place),
    Rename {
        from: Place,
        to: Place,
    },
    Remove(Place),
    /// All pending names of the folder become durable.
    SyncDir {
        dir: usize,
    },
}

/// A change of a file's bytes.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Write { offset: u64, data: Arc<[u8]> },
    SetLen(u64),
    Allocate(u64),
}

impl Change {
    fn apply(&self, content: &mut Content) {
        match self {
            Self::Write { offset, data } => content.write(*offset, data),
            Self::SetLen(len) => content.set_len(*len),
            Self::Allocate(len) => content.allocate(*len),
        }
    }

    /// The file's length afterwards.
    fn len_after(&self, len: u64) -> u64 {
        match self {
            Self::Write { offset, data } => len.max(offset + data.len() as u64),
            Self::SetLen(len) => *len,
            Self::Allocate(new) => len.max(*new),
        }
    }
}

/// One file.
#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    /// What reads show.
    pub(super) visible: Content,
    /// What certainly survives a power cut.
    pub(super) durable: Content,
    /// What was durable before the last sync that changed something.
    pub(super) stale: Content,
    /// The changes since; a failed sync discards them without making them durable.
    pending: Vec<Change>,
}

/// A pending change of names.
#[derive(Debug, Clone)]
enum NameChange {
    Add(Place, Node),
    Remove(Place, Node),
    Move { from: Place, to: Place, node: Node },
}

impl NameChange {
    fn touches(&self, wanted: impl Fn(&Place) -> bool) -> bool {
        match self {
            Self::Add(place, _) | Self::Remove(place, _) => wanted(place),
            Self::Move { from, to, .. } => wanted(from) || wanted(to),
        }
    }

    fn places(&self) -> Vec<Place> {
        match self {
            Self::Add(place, _) | Self::Remove(place, _) => vec![place.clone()],
            Self::Move { from, to, .. } => vec![from.clone(), to.clone()],
        }
    }
}

type Names = BTreeMap<Arc<str>, Node>;

/// One folder.
#[derive(Debug, Clone, Default)]
pub(super) struct Dir {
    pub(super) visible: Names,
    durable: Names,
}

/// A whole disk. A clone shares everything until one of the two changes.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) files: Vec<Arc<Inode>>,
    pub(super) dirs: Vec<Arc<Dir>>,
    pending_names: Vec<NameChange>,
}

/// Which pending bytes a power cut keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// None: the image is what was synced.
    Nothing,
    /// All: as if everything had just been synced (but not what a failed sync lost).
    Everything,
    /// Of each sector of 512 bytes, the content at some moment since the sync.
    Sectors512,
    /// The same by 4,096 bytes.
    Sectors4096,
    /// A random subset of the operations.
    Operations,
    /// Per file the first few operations, the last one cut at a byte.
    Prefix,
    /// The last length of each file, and no bytes.
    LengthOnly,
    /// All bytes within the old length of each file.
    DataOnly,
    /// A different choice for each file.
    Mixed,
}

impl Keep {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Nothing,
        Self::Everything,
        Self::Sectors512,
        Self::Sectors4096,
        Self::Operations,
        Self::Prefix,
        Self::LengthOnly,
        Self::DataOnly,
        Self::Mixed,
    ];
}

impl Default for State {
    fn default() -> Self {
        Self { files: Vec::new(), dirs: vec![Arc::default()], pending_names: Vec::new() }
    }
}

impl State {
    pub(super) fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::Nothing => {}
            Effect::Bytes { file, change } => {
                let inode = Arc::make_mut(&mut self.files[*file]);
                change.apply(&mut inode.visible);
                inode.pending.push(change.clone());
            }
            Effect::Sync { file } => {
                if !self.files[*file].pending.is_empty() {
                    let inode = Arc::make_mut(&mut self.files[*file]);
                    inode.stale = inode.durable.clone();
                    for change in inode.pending.drain(..) {
                        change.apply(&mut inode.durable);
                    }
                }
            }
            Effect::FailedSync { file, drop_pages, seed } => {
                let inode = Arc::make_mut(&mut self.files[*file]);
                let landed = Keep::ALL[(mix(*seed) % 8) as usize];
                let durable = inode.image(landed, &mut SimRng::new(*seed));
                inode.stale = std::mem::replace(&mut inode.durable, durable);
                inode.pending.clear();
                if *drop_pages {
                    let len = inode.visible.len();
                    inode.visible = inode.durable.clone();
                    inode.visible.set_len(len);
                }
            }
            Effect::CreateFile(place) => {
                let node = Node::File(self.files.len());
                self.files.push(Arc::default());
                self.change_names(NameChange::Add(place.clone(), node));
            }
            Effect::CreateDir(place) => {
                let node = Node::Dir(self.dirs.len());
                self.dirs.push(Arc::default());
                self.change_names(NameChange::Add(place.clone(), node));
            }
            Effect::Rename { from, to } => {
                if let Some(node) = self.dirs[from.0].visible.get(&from.1).copied() {
                    self.change_names(NameChange::Move { from: from.clone(), to: to.clone(), node });
                }
            }
            Effect::Remove(place) => {
                if let Some(node) = self.dirs[place.0].visible.get(&place.1).copied() {
                    self.change_names(NameChange::Remove(place.clone(), node));
                }
            }
            Effect::SyncDir { dir } => self.sync_names(*dir),
        }
    }

    fn change_names(&mut self, change: NameChange) {
        apply_names(&mut self.dirs, &change, |dir| &mut dir.visible);
        self.pending_names.push(change);
    }

    /// Makes the names of a folder durable. A move between folders is one change, and an earlier change of a name
    /// comes before a later one of the same name; nothing else is ordered.
    fn sync_names(&mut self, dir: usize) {
        let mut places: Vec<Place> = Vec::new();
        let mut chosen = vec![false; self.pending_names.len()];
        for (index, change) in self.pending_names.iter().enumerate().rev() {
            if change.touches(|place| place.0 == dir || places.contains(place)) {
                places.extend(change.places());
                chosen[index] = true;
            }
        }
        let mut rest = Vec::new();
        for (change, chosen) in std::mem::take(&mut self.pending_names).into_iter().zip(chosen) {
            if chosen {
                apply_names(&mut self.dirs, &change, |dir| &mut dir.durable);
            } else {
                rest.push(change);
            }
        }
        self.pending_names = rest;
    }

    /// The disk after a power cut: the durable bytes and names, and a choice of the pending ones. All of it is durable.
    pub(super) fn after_power_cut(&self, keep: Keep, rng: &mut SimRng) -> Self {
        let mut dirs = self.dirs.clone();
        let names_kept_of_4 = match keep {
            Keep::Nothing => 0,
            Keep::Everything => 4,
            _ => [0, 2, 2, 4][rng.below(4) as usize],
        };
        for change in &self.pending_names {
            if rng.below(4) < names_kept_of_4 {
                apply_names(&mut dirs, change, |dir| &mut dir.durable);
            }
        }
        let mut image = Self::default();
        let mut file_numbers = BTreeMap::new();
        let mut folders = vec![(ROOT, ROOT)];
        while let Some((old, new)) = folders.pop() {
            let mut names = Names::new();
            for (name, node) in &dirs[old].durable {
                let node = match node {
                    Node::File(file) => Node::File(*file_numbers.entry(*file).or_insert_with(|| {
                        let bytes = self.files[*file].image(keep, rng);
                        let stale = self.files[*file].stale.clone();
                        let inode = Inode { visible: bytes.clone(), durable: bytes, stale, pending: Vec::new() };
                        image.files.push(Arc::new(inode));
                        image.files.len() - 1
                    })),
                    Node::Dir(dir) => {
                        image.dirs.push(Arc::default());
                        folders.push((*dir, image.dirs.len() - 1));
                        Node::Dir(image.dirs.len() - 1)
                    }
                };
                names.insert(name.clone(), node);
            }
            image.dirs[new] = Arc::new(Dir { visible: names.clone(), durable: names });
        }
        image
    }

    /// Pages that files with a name take.
    pub(super) fn pages_used(&self) -> u64 {
        let mut files: Vec<usize> = Vec::new();
        for dir in &self.dirs {
            files.extend(dir.visible.values().filter_map(|node| match node {
                Node::File(file) => Some(*file),
                Node::Dir(_) => None,
            }));
        }
        files.into_iter().map(|file| self.files[file].visible.pages_used()).sum()
    }
}

fn apply_names(dirs: &mut [Arc<Dir>], change: &NameChange, side: impl Fn(&mut Dir) -> &mut Names) {
    let mut remove = |place: &Place, node: Node| {
        let names = side(Arc::make_mut(&mut dirs[place.0]));
        if names.get(&place.1) == Some(&node) {
            names.remove(&place.1);
        }
    };
    let (place, node) = match change {
        NameChange::Remove(place, node) => return remove(place, *node),
        NameChange::Move { from, to, node } => {
            remove(from, *node);
            (to, node)
        }
        NameChange::Add(place, node) => (place, node),
    };
    side(Arc::make_mut(&mut dirs[place.0])).insert(place.1.clone(), *node);
}

impl Inode {
    /// The durable bytes and a choice of the pending ones.
    fn image(&self, keep: Keep, rng: &mut SimRng) -> Content {
        let mut image = self.durable.clone();
        if self.pending.is_empty() {
            return image;
        }
        let keep = if keep == Keep::Mixed { Keep::ALL[rng.below(8) as usize] } else { keep };
        let last_len = self.pending.iter().fold(image.len(), |len, change| change.len_after(len));
        match keep {
            Keep::Nothing | Keep::Mixed => {}
            Keep::Everything => self.pending.iter().for_each(|change| change.apply(&mut image)),
            Keep::Operations => {
                for change in &self.pending {
                    if rng.below(2) == 0 {
                        change.apply(&mut image);
                    }
                }
            }
            Keep::Prefix => {
                let count = rng.below(self.pending.len() as u64 + 1) as usize;
                self.pending[..count].iter().for_each(|change| change.apply(&mut image));
                if let Some(Change::Write { offset, data }) = self.pending.get(count) {
                    image.write(*offset, &data[..rng.below(data.len() as u64 + 1) as usize]);
                }
            }
            Keep::LengthOnly => image.set_len(last_len),
            Keep::DataOnly => {
                self.pending.iter().for_each(|change| change.apply(&mut image));
                image.set_len(self.durable.len());
            }
            Keep::Sectors512 => self.keep_sectors(&mut image, 512, rng),
            Keep::Sectors4096 => self.keep_sectors(&mut image, 4_096, rng),
        }
        image
    }

    /// Each sector stops following the pending changes at a moment of its own, and so does the length.
    fn keep_sectors(&self, image: &mut Content, sector_bytes: u64, rng: &mut SimRng) {
        let count = self.pending.len() as u64;
        let seed = rng.next();
        let followed = |sector: u64| {
            let random = mix(seed ^ mix(sector));
            match random % 4 {
                0 => 0,
                1 => count,
                _ => (random >> 8) % (count + 1),
            }
        };
        let mut len = image.len();
        let mut len_kept = len;
        let len_followed = followed(u64::MAX);
        for (index, change) in self.pending.iter().enumerate() {
            let index = index as u64;
            let len_before = len;
            len = change.len_after(len);
            if index < len_followed {
                len_kept = len;
            }
            let (start, end, data): (u64, u64, Option<&[u8]>) = match change {
                Change::Write { offset, data } => (*offset, offset + data.len() as u64, Some(data)),
                Change::SetLen(len) if *len < len_before => (*len, len_before, None),
                Change::SetLen(_) | Change::Allocate(_) => continue,
            };
            let mut at = start;
            while at < end {
                let sector = at / sector_bytes;
                let sector_end = ((sector + 1) * sector_bytes).min(end);
                if index < followed(sector) {
                    match data {
                        Some(data) => image.write(at, &data[(at - start) as usize..(sector_end - start) as usize]),
                        None => image.zero(at, sector_end),
                    }
                }
                at = sector_end;
            }
        }
        image.set_len(len_kept);
    }
}
