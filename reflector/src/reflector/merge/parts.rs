//! [`Parts`]: how far each of several sources has come, and what waits until all have listed.

use std::mem;

use informer_store::{Cause, Delta, Object, ObjectKey, Replacement, ResourceVersion};

use super::{super::scope::Scope, Beginning};

pub(super) struct Parts<K> {
    /// What each source has listed that the store has not got.
    waiting: Vec<Option<Beginning<K>>>,
    /// Whether all have listed, and the store has got those lists.
    pub(super) begun: bool,
    /// How far each source has come.
    versions: Vec<ResourceVersion>,
    /// Where the objects of each are.
    scopes: Vec<Scope>,
    /// Whether each has yet to notice that the history went back: versions of different histories do not compare, and it
    /// counts as no further than that until it does.
    behind: Vec<bool>,
    /// How far the store was told it has come.
    pub(super) claimed: ResourceVersion,
}

impl<K: Object> Parts<K> {
    pub(super) fn new(sources: usize) -> Self {
        Self {
            waiting: (0..sources).map(|_| None).collect(),
            begun: false,
            versions: vec![ResourceVersion::UNSET; sources],
            scopes: vec![Scope::default(); sources],
            behind: vec![false; sources],
            claimed: ResourceVersion::UNSET,
        }
    }

    /// Takes what source `part` brings while others have yet to list.
    pub(super) fn go_on_waiting(&mut self, part: usize, delta: Delta<K>) {
        self.note(part, &delta);
        if let Some(beginning) = &mut self.waiting[part] {
            beginning.take(delta);
        }
    }

    /// Takes what source `part` has listed. Whether it says that the history went back, and that is news: then the others
    /// have yet to notice.
    pub(super) fn takes_list(&mut self, part: usize, list: Replacement<K>) -> bool {
        let is_news = list.rewound && !mem::replace(&mut self.behind[part], false);
        if is_news {
            self.behind.fill(true);
            self.behind[part] = false;
            for version in self
                .versions
                .iter_mut()
                .filter(|version| **version > list.version)
            {
                version.clone_from(&list.version);
            }
        }
        self.comes_to(part, &list.version);
        let before = self.waiting[part].take();
        self.waiting[part] = Some(Beginning::new(list, before));
        is_news
    }

    /// The lists that the store can take now: none before all sources have listed.
    pub(super) fn waiting_lists(&mut self) -> Vec<(usize, Replacement<K>)> {
        if !self.begun && self.waiting.iter().any(Option::is_none) {
            return Vec::new();
        }
        let waiting = self.waiting.iter_mut().enumerate();
        waiting
            .filter_map(|(part, waiting)| Some((part, waiting.take()?.contents())))
            .collect()
    }

    /// Notes what `delta` says of how far source `part` has come.
    pub(super) fn note(&mut self, part: usize, delta: &Delta<K>) {
        self.widen(part, delta.key());
        let version = match delta {
            Delta::Added(entry) | Delta::Updated(entry) if entry.cause == Cause::Live => {
                entry.object.version()
            }
            Delta::Deleted(tombstone) if tombstone.cause == Cause::Live => tombstone.version.clone(),
            Delta::Bookmark(version) => return self.comes_to(part, version),
            _ => return,
        };
        if version > self.versions[part] {
            self.comes_to(part, &version);
        }
    }

    /// Source `part` has come to `version`. In a history that is lost it gets nowhere.
    fn comes_to(&mut self, part: usize, version: &ResourceVersion) {
        if !self.behind[part] {
            self.versions[part].clone_from(version);
        }
    }

    pub(super) fn widen<'k>(&mut self, part: usize, keys: impl IntoIterator<Item = &'k ObjectKey>) {
        for key in keys {
            self.scopes[part].widen(key);
        }
    }

    /// Whether source `part` has yet to notice that the history went back.
    pub(super) fn is_behind(&self, part: usize) -> bool {
        self.behind[part]
    }

    /// The other sources that may have brought `key`, of the history of `part` or a later one.
    pub(super) fn others_with(&self, part: usize, key: &ObjectKey) -> impl Iterator<Item = usize> {
        let others = self.scopes.iter().enumerate();
        others
            .filter(move |(other, scope)| *other != part && scope.may_have(key))
            .map(|(other, _)| other)
            .filter(move |other| !self.behind[*other] || self.behind[part])
    }

    /// Whether two sources may have brought the same key.
    pub(super) fn meet(&self) -> bool {
        let scopes = self.scopes.iter().enumerate();
        scopes
            .flat_map(|(at, one)| self.scopes[..at].iter().map(move |other| (one, other)))
            .any(|(one, other)| one.meets(other))
    }

    /// Whether source `part` may have brought the same key as one of `others`.
    pub(super) fn meets_any(&self, part: usize, others: &[bool]) -> bool {
        let mut others = self.scopes.iter().zip(others);
        others.any(|(scope, is_other)| *is_other && scope.meets(&self.scopes[part]))
    }

    /// How far all have come, if the store has not been told.
    pub(super) fn claim(&mut self) -> Option<ResourceVersion> {
        let reached = self.reached();
        (reached > self.claimed).then(|| {
            self.claimed.clone_from(&reached);
            reached
        })
    }

    /// How far every source has come.
    pub(super) fn reached(&self) -> ResourceVersion {
        self.outermost(|version, than| version < than)
    }

    /// How far any source has come.
    pub(super) fn furthest(&self) -> ResourceVersion {
        self.outermost(|version, than| version > than)
    }

    fn outermost(&self, is: impl Fn(&ResourceVersion, &ResourceVersion) -> bool) -> ResourceVersion {
        let mut outermost = &self.versions[0];
        for version in &self.versions[1..] {
            if is(version, outermost) {
                outermost = version;
            }
        }
        outermost.clone()
    }
}
