//! The line in which requests wait for a set: divided by whose they are, so that the flood of one caller takes neither
//! the room nor the turns of the others.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};

use super::Source;

/// How many wait at most. One source alone gets half of it.
const LINE_MAX: usize = 8192;
/// How many of them that write the same. They need a set each, so more would only wait until they are too late; a
/// page with a hundred tabs that all refresh at once is still served.
const LINE_MAX_OF_ONE: usize = 128;

/// One who waits.
pub(super) struct Waiting<T> {
    pub(super) who: T,
    source: Source,
    /// What it writes, hashed: two that write the same have the same.
    written: Option<u64>,
}

impl<T> Waiting<T> {
    /// Whether both write the same.
    pub(super) fn clashes_with(&self, other: &Self) -> bool {
        self.written.is_some() && self.written == other.written
    }
}

/// Those who wait.
pub(super) struct Line<T> {
    of: HashMap<Source, VecDeque<Waiting<T>>>,
    /// Whose turn it is, one request each.
    turns: VecDeque<Source>,
    count: usize,
    /// How many write the same.
    same: HashMap<u64, usize>,
    hashing: RandomState,
}

impl<T> Line<T> {
    pub(super) fn new() -> Self {
        let hashing = RandomState::new();
        Self { of: HashMap::new(), turns: VecDeque::new(), count: 0, same: HashMap::new(), hashing }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// What one writes, for [`Self::push`].
    pub(super) fn hash(&self, user_id: &str, name: &str) -> u64 {
        self.hashing.hash_one((user_id, name))
    }

    /// Adds one at the end; or doesn't, for want of room. A source may have as many here as there is still room for
    /// others, so that there is always some for who has none yet.
    pub(super) fn push(&mut self, source: Source, written: Option<u64>, who: T) -> Result<(), T> {
        let of_source = self.of.get(&source).map_or(0, VecDeque::len);
        let same = written.and_then(|written| self.same.get(&written)).copied().unwrap_or_default();
        if of_source >= LINE_MAX - self.count || same >= LINE_MAX_OF_ONE {
            return Err(who);
        }
        if let Some(written) = written {
            *self.same.entry(written).or_default() += 1;
        }
        self.queue(source).push_back(Waiting { who, source, written });
        self.count += 1;
        Ok(())
    }

    /// Takes the next one out, of each source in turn.
    pub(super) fn pop(&mut self) -> Option<Waiting<T>> {
        let source = self.turns.pop_front()?;
        let queue = self.of.get_mut(&source)?;
        let next = queue.pop_front()?;
        if queue.is_empty() {
            self.of.remove(&source);
        } else {
            self.turns.push_back(source);
        }
        self.forget(next.written);
        Some(next)
    }

    /// Puts one back where it was: its turn comes again.
    pub(super) fn put_back(&mut self, waiting: Waiting<T>) {
        if let Some(written) = waiting.written {
            *self.same.entry(written).or_default() += 1;
        }
        self.count += 1;
        self.queue(waiting.source).push_front(waiting);
    }

    /// The queue of a source, which has turns from now on.
    fn queue(&mut self, source: Source) -> &mut VecDeque<Waiting<T>> {
        self.of.entry(source).or_insert_with(|| {
            self.turns.push_back(source);
            VecDeque::new()
        })
    }

    fn forget(&mut self, written: Option<u64>) {
        self.count -= 1;
        if let Some(written) = written
            && let Some(count) = self.same.get_mut(&written)
        {
            *count -= 1;
            if *count == 0 {
                self.same.remove(&written);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Source = Source(1);
    const B: Source = Source(2);

    fn popped(line: &mut Line<usize>) -> Vec<usize> {
        std::iter::from_fn(|| line.pop().map(|waiting| waiting.who)).collect()
    }

    #[test]
    fn who_comes_first_goes_first_and_sources_take_turns() {
        let mut line = Line::new();
        for n in 0..6 {
            line.push(A, None, n).unwrap();
        }
        line.push(B, None, 10).unwrap();
        line.push(B, None, 11).unwrap();
        assert_eq!(line.len(), 8);
        assert_eq!(popped(&mut line), [0, 10, 1, 11, 2, 3, 4, 5]);
        assert!(line.is_empty() && line.of.is_empty() && line.turns.is_empty());
    }

    #[test]
    fn a_flood_leaves_room_for_others() {
        let mut line = Line::new();
        let taken = (0..LINE_MAX).take_while(|n| line.push(A, None, *n).is_ok()).count();
        assert_eq!(taken, LINE_MAX / 2);
        let of_b = (0..LINE_MAX).take_while(|n| line.push(B, None, *n).is_ok()).count();
        assert_eq!(of_b, LINE_MAX / 4);
        // However many there are, there is room for one more who has none.
        for source in 3..100 {
            line.push(Source(source), None, 0).unwrap();
        }
    }

    #[test]
    fn not_too_many_write_the_same() {
        let mut line = Line::new();
        let [laptop, phone] = ["laptop", "phone"].map(|name| Some(line.hash("ada", name)));
        for n in 0..LINE_MAX_OF_ONE {
            line.push(A, laptop, n).unwrap();
        }
        assert_eq!(line.push(B, laptop, 0), Err(0));
        line.push(B, phone, 1000).unwrap();
        let first = line.pop().unwrap();
        line.push(B, laptop, 500).unwrap();
        let second = line.pop().unwrap();
        assert!(!first.clashes_with(&second) && first.clashes_with(&line.pop().unwrap()));
        line.put_back(first);
        assert_eq!([line.pop().unwrap().who, line.pop().unwrap().who], [500, 0]);
        popped(&mut line);
        assert!(line.is_empty() && line.same.is_empty() && line.turns.is_empty());
    }
}
