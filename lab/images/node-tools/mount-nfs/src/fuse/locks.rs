//! Byte-range locks at the server, for fcntl and flock.

use super::state::{Node, OpenFile, Shared};
use crate::nfs::{ACCESS_BOTH, ACCESS_READ, Cred, EOF, Range, Res, StateId};
use fuser::FileHandle;
use std::collections::HashMap;
use std::sync::Arc;

/// How often a lock is tried anew when the server has forgotten our state.
const ATTEMPTS: u32 = 5;

/// What an owner holds: its stateid at the server and the ranges.
type Held = (Option<StateId>, Vec<Range>);

/// The server's state for this node's byte-range locks: one OPEN, one stateid an owner.
#[derive(Default)]
pub(super) struct Locks {
    pub(super) epoch: u64,
    pub(super) cred: Arc<Cred>,
    pub(super) open: Option<StateId>,
    pub(super) owners: HashMap<u64, Held>,
}

impl Shared {
    /// One try at a lock or unlock. The server's state is taken anew when a restart lost it.
    pub(super) fn set_lock(&self, h: &OpenFile, owner: u64, r: Range) -> Res<()> {
        let mut l = h.node.locks.lock();
        if r.typ == libc::F_UNLCK && !l.owners.contains_key(&owner) {
            return Ok(());
        }
        if l.owners.is_empty() {
            l.cred = h.cred.clone();
        }
        for _ in 0..ATTEMPTS {
            match self.relock(&h.node, &mut l).and_then(|()| self.lock_once(&h.node, &mut l, owner, r)) {
                Err(libc::EBADF) => l.epoch = 0,
                x => return x,
            }
        }
        Err(libc::ENOLCK)
    }

    pub(super) fn lock_once(&self, node: &Node, l: &mut Locks, owner: u64, r: Range) -> Res<()> {
        let open = match l.open {
            Some(o) => o,
            None => match self.client.open(&l.cred, &node.fh, ACCESS_BOTH) {
                Err(libc::EACCES | libc::EROFS) => self.client.open(&l.cred, &node.fh, ACCESS_READ)?,
                x => x?,
            },
        };
        l.open = Some(open);
        let id = l.owners.get(&owner).and_then(|o| o.0);
        let new = match (r.typ, id) {
            (libc::F_UNLCK, None) => None,
            (libc::F_UNLCK, Some(id)) => Some(self.client.unlock(&l.cred, &node.fh, &id, r)?),
            _ => Some(self.client.lock(&l.cred, &node.fh, owner, &open, id, r)?),
        };
        let held = l.owners.entry(owner).or_default();
        held.0 = new;
        held.1 = after(&held.1, r);
        if held.1.is_empty() {
            l.owners.remove(&owner);
        }
        if l.owners.is_empty() {
            l.open = None;
            let _ = self.client.close(&l.cred, &node.fh, &open);
        }
        Ok(())
    }

    pub(super) fn relock(&self, node: &Node, l: &mut Locks) -> Res<()> {
        let epoch = self.client.epoch();
        if l.epoch == epoch {
            return Ok(());
        }
        l.epoch = epoch;
        l.open = None;
        for (owner, (_, ranges)) in std::mem::take(&mut l.owners) {
            for r in ranges {
                if let Err(e) = self.lock_once(node, l, owner, r) {
                    eprintln!("lock on file {} lost: errno {e}", node.ino);
                }
            }
        }
        Ok(())
    }

    /// Whether locks are held; after a server restart, takes them again.
    pub fn keep_locks(&self) -> bool {
        let nodes: Vec<_> = self.nodes.lock().values().cloned().collect();
        let mut held = false;
        for n in nodes {
            let mut l = n.locks.lock();
            if !l.owners.is_empty() {
                held = true;
                let _ = self.relock(&n, &mut l);
            }
        }
        held
    }

    pub(super) fn release_locks(&self, fh: FileHandle, owner: u64) {
        if let Ok(h) = self.handle(fh) {
            let _ = self.set_lock(&h, owner, Range { start: 0, end: EOF, typ: libc::F_UNLCK });
        }
    }
}

/// The ranges held once `change` has been applied to those held before.
fn after(before: &[Range], change: Range) -> Vec<Range> {
    let mut ranges = vec![];
    for held in before {
        if held.start < change.start {
            ranges.push(Range { end: held.end.min(change.start - 1), ..*held });
        }
        if held.end > change.end {
            ranges.push(Range { start: held.start.max(change.end + 1), ..*held });
        }
    }
    if change.typ != libc::F_UNLCK {
        ranges.push(change);
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64, typ: i32) -> Range {
        Range { start, end, typ }
    }

    fn spans(ranges: &[Range]) -> Vec<(u64, u64, i32)> {
        ranges.iter().map(|r| (r.start, r.end, r.typ)).collect()
    }

    #[test]
    fn unlocking_the_middle_leaves_both_ends() {
        let held = [range(0, 99, libc::F_WRLCK)];
        let left = after(&held, range(40, 59, libc::F_UNLCK));
        assert_eq!(spans(&left), [(0, 39, libc::F_WRLCK), (60, 99, libc::F_WRLCK)]);
    }

    #[test]
    fn a_new_kind_replaces_the_overlap() {
        let held = [range(0, 99, libc::F_WRLCK)];
        let left = after(&held, range(50, 149, libc::F_RDLCK));
        assert_eq!(spans(&left), [(0, 49, libc::F_WRLCK), (50, 149, libc::F_RDLCK)]);
    }

    #[test]
    fn unlocking_everything_leaves_nothing() {
        let held = [range(0, EOF, libc::F_WRLCK)];
        assert!(after(&held, range(0, EOF, libc::F_UNLCK)).is_empty());
    }

    #[test]
    fn locks_that_only_touch_stay_as_they_are() {
        let held = [range(10, 19, libc::F_RDLCK)];
        for change in [range(0, 9, libc::F_WRLCK), range(20, EOF, libc::F_WRLCK)] {
            assert_eq!(spans(&after(&held, change)), [spans(&held)[0], spans(&[change])[0]]);
        }
    }

    /// Against a picture of the first bytes, one letter each, through every order of three changes.
    #[test]
    fn whatever_is_locked_and_unlocked_each_byte_is_held_as_it_was_changed_last() {
        const BYTES: u64 = 4;
        let mut changes = vec![];
        for start in 0..BYTES {
            for end in start..BYTES {
                changes
                    .extend([libc::F_RDLCK, libc::F_WRLCK, libc::F_UNLCK].map(|typ| range(start, end, typ)));
            }
        }
        for a in &changes {
            for b in &changes {
                for c in &changes {
                    let (mut held, mut picture) = (vec![], [libc::F_UNLCK; BYTES as usize]);
                    for change in [a, b, c] {
                        held = after(&held, *change);
                        picture[change.start as usize..=change.end as usize].fill(change.typ);
                    }
                    for (byte, typ) in (0..BYTES).zip(picture) {
                        let over: Vec<_> = held.iter().filter(|r| r.start <= byte && byte <= r.end).collect();
                        assert!(over.len() <= 1, "byte {byte} is held twice: {:?}", spans(&held));
                        assert_eq!(over.first().map_or(libc::F_UNLCK, |r| r.typ), typ, "{:?}", spans(&held));
                    }
                }
            }
        }
    }
}
