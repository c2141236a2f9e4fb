//! The messages of PostgreSQL's protocol, found in bytes as they come.

/// Takes one direction of PostgreSQL's protocol apart.
///
/// Requests are often sent before the last one is answered (the client library
/// closes statements so), and an answer is told from another by nothing but its
/// place, so requests and answers have to be counted.
#[derive(Default)]
pub(super) struct Messages {
    /// The first message of a client has no type.
    untyped: bool,
    unfinished: Vec<u8>,
}

impl Messages {
    /// What a client sends, from the beginning.
    pub(super) fn of_client() -> Self {
        Self { untyped: true, ..Self::default() }
    }

    /// Takes the next bytes, and tells of every message that they complete:
    /// its type, all of it, and where in `bytes` it ends.
    pub(super) fn take(&mut self, bytes: &[u8], mut tell: impl FnMut(Option<u8>, &[u8], usize)) {
        let before = self.unfinished.len();
        self.unfinished.extend_from_slice(bytes);
        let mut start = 0;
        loop {
            let rest = &self.unfinished[start..];
            let kind = if self.untyped { None } else { rest.first().copied() };
            let head = usize::from(!self.untyped);
            let Some(length) = rest.get(head..).and_then(<[u8]>::first_chunk) else {
                break;
            };
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            let Some(message) = rest.get(..length.saturating_add(head).max(4)) else {
                break;
            };
            start += message.len();
            tell(kind, message, start - before);
            // A client whose offer to encrypt is refused starts once more.
            self.untyped &= message.len() == 8;
        }
        self.unfinished.drain(..start);
    }
}
