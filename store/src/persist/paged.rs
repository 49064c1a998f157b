//! [`Paged`]: a persistent array.

use triomphe::Arc;

/// Pointers in an inner node.
const NODE: usize = 16;

type Leaf<T, const LEAF: usize> = [T; LEAF];
type Node<T, const LEAF: usize> = [Option<Arc<Leaf<T, LEAF>>>; NODE];
type Branch<T, const LEAF: usize> = [Option<Arc<Node<T, LEAF>>>; NODE];

/// An array that grows at its end; every element not yet written is `T::default()`.
///
/// `LEAF` elements make up a leaf: what one write copies while a clone is held, besides three small arrays of pointers.
pub(crate) struct Paged<T, const LEAF: usize = 16> {
    top: Arc<Vec<Arc<Branch<T, LEAF>>>>,
    len: usize,
}

impl<T, const LEAF: usize> Clone for Paged<T, LEAF> {
    fn clone(&self) -> Self {
        Self {
            top: Arc::clone(&self.top),
            len: self.len,
        }
    }
}

impl<T, const LEAF: usize> Default for Paged<T, LEAF> {
    fn default() -> Self {
        Self {
            top: Arc::new(Vec::new()),
            len: 0,
        }
    }
}

impl<T, const LEAF: usize> Paged<T, LEAF> {
    const NODE_SPAN: usize = LEAF * NODE;
    const BRANCH_SPAN: usize = Self::NODE_SPAN * NODE;

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The element at `at`. Beyond the end: none, or one that is as it was made, since nothing was ever written there.
    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        let branch = self.top.get(at / Self::BRANCH_SPAN)?;
        let node = branch[at / Self::NODE_SPAN % NODE].as_ref()?;
        let leaf = node[at / LEAF % NODE].as_ref()?;
        Some(&leaf[at % LEAF])
    }

    /// The elements from `at` to the end of their leaf, and where the next leaf starts.
    fn leaf(&self, at: usize) -> Option<(&[T], usize)> {
        if at >= self.len {
            return None;
        }
        let end = (at / LEAF + 1) * LEAF;
        let node = self.top[at / Self::BRANCH_SPAN][at / Self::NODE_SPAN % NODE].as_ref()?;
        let leaf = node[at / LEAF % NODE].as_ref()?;
        let stop = LEAF.min(self.len - (end - LEAF));
        Some((&leaf[at % LEAF..stop], end))
    }

    pub(crate) fn iter(&self) -> Iter<'_, T, LEAF> {
        Iter {
            paged: self,
            next: 0,
            leaf: [].iter(),
        }
    }
}

impl<T: Clone + Default, const LEAF: usize> Paged<T, LEAF> {
    /// The element at `at`, to be changed; copies what is shared on the way.
    ///
    /// # Panics
    /// If `at` is beyond the end.
    #[inline]
    pub(crate) fn get_mut(&mut self, at: usize) -> &mut T {
        assert!(at < self.len, "an index within the array");
        let branch = Arc::make_mut(&mut Arc::make_mut(&mut self.top)[at / Self::BRANCH_SPAN]);
        let node = branch[at / Self::NODE_SPAN % NODE].get_or_insert_with(empty_node);
        let leaf = Arc::make_mut(node)[at / LEAF % NODE].get_or_insert_with(empty_leaf);
        &mut Arc::make_mut(leaf)[at % LEAF]
    }

    pub(crate) fn push(&mut self, value: T) {
        let at = self.len;
        if at.is_multiple_of(Self::BRANCH_SPAN) {
            Arc::make_mut(&mut self.top).push(Arc::new([const { None }; NODE]));
        }
        self.len += 1;
        *self.get_mut(at) = value;
    }
}

#[cold]
fn empty_node<T, const LEAF: usize>() -> Arc<Node<T, LEAF>> {
    Arc::new([const { None }; NODE])
}

#[cold]
fn empty_leaf<T: Default, const LEAF: usize>() -> Arc<Leaf<T, LEAF>> {
    Arc::new(std::array::from_fn(|_| T::default()))
}

/// Bytes of heap that so many elements take, pointers on all levels included.
pub(crate) const fn paged_bytes<T, const LEAF: usize>(len: usize) -> usize {
    let leaf = size_of::<[T; LEAF]>() + 8 + 8;
    let node = 8 + 8;
    len.div_ceil(LEAF) * leaf + len.div_ceil(LEAF * NODE) * node
}

pub(crate) struct Iter<'a, T, const LEAF: usize> {
    paged: &'a Paged<T, LEAF>,
    next: usize,
    leaf: std::slice::Iter<'a, T>,
}

impl<'a, T, const LEAF: usize> Iterator for Iter<'a, T, LEAF> {
    type Item = &'a T;

    #[inline]
    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some(value) = self.leaf.next() {
                return Some(value);
            }
            let (leaf, next) = self.paged.leaf(self.next)?;
            self.leaf = leaf.iter();
            self.next = next;
        }
    }
}

/// Walks the indexes at which two arrays may differ: those of chunks the two do not share.
#[derive(Default)]
pub(crate) struct Differing {
    next: usize,
    /// Up to here the chunk is known not to be shared.
    end: usize,
}

impl Differing {
    /// The next index; the arrays must be the same two in every call.
    pub(crate) fn next<T, const LEAF: usize>(
        &mut self,
        new: &Paged<T, LEAF>,
        old: &Paged<T, LEAF>,
    ) -> Option<usize> {
        let len = new.len.max(old.len);
        while self.next >= self.end {
            if self.next >= len {
                return None;
            }
            match shared_until(new, old, self.next) {
                Some(next) => self.next = next,
                None => self.end = ((self.next / LEAF + 1) * LEAF).min(len),
            }
        }
        self.next += 1;
        Some(self.next - 1)
    }
}

/// Where the chunk at `at` ends if both arrays share it, looking at the widest level first.
fn shared_until<T, const LEAF: usize>(
    new: &Paged<T, LEAF>,
    old: &Paged<T, LEAF>,
    at: usize,
) -> Option<usize> {
    let (node_span, branch_span) = (Paged::<T, LEAF>::NODE_SPAN, Paged::<T, LEAF>::BRANCH_SPAN);
    let branch = (new.top.get(at / branch_span)?, old.top.get(at / branch_span)?);
    if Arc::ptr_eq(branch.0, branch.1) {
        return Some((at / branch_span + 1) * branch_span);
    }
    let at_node = at / node_span % NODE;
    let node = (branch.0[at_node].as_ref()?, branch.1[at_node].as_ref()?);
    if Arc::ptr_eq(node.0, node.1) {
        return Some((at / node_span + 1) * node_span);
    }
    let at_leaf = at / LEAF % NODE;
    let leaf = (node.0[at_leaf].as_ref()?, node.1[at_leaf].as_ref()?);
    Arc::ptr_eq(leaf.0, leaf.1).then_some((at / LEAF + 1) * LEAF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_keeps_what_it_held() {
        let mut array = Paged::<u32>::default();
        for value in 0..10_000u32 {
            array.push(value);
        }
        let before = array.clone();
        for at in (0..10_000).step_by(7) {
            *array.get_mut(at) += 1;
        }
        array.push(5);
        assert!(before.iter().copied().eq(0..10_000));
        assert_eq!(before.len(), 10_000);
        assert_eq!(array.get(10_000), Some(&5));
        assert_eq!(array.get(7), Some(&8));
        assert_eq!(before.get(10_000), None);
    }

    #[test]
    fn differing_visits_every_changed_index_and_few_others() {
        let mut array = Paged::<u32>::default();
        for value in 0..10_000u32 {
            array.push(value);
        }
        let before = array.clone();
        *array.get_mut(3) = 0;
        *array.get_mut(9_000) = 0;
        array.push(1);
        let mut differing = Differing::default();
        let visited: Vec<_> = std::iter::from_fn(|| differing.next(&array, &before)).collect();
        assert!(visited.len() <= 3 * 16);
        assert!([3, 9_000, 10_000].iter().all(|at| visited.contains(at)));
        assert_eq!(Differing::default().next(&array, &array.clone()), None);
    }
}
