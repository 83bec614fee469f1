//! What the mediator reads of the governed program's own bytes, by name, so that a fuzzer reaches it.

use super::{caller, dns, exec, socket};

/// The name server's answer to a query.
#[must_use]
pub fn name_query(query: &[u8]) -> Option<Vec<u8>> {
    dns::answer(query, &mut dns::Names::default())
}

/// An address as `connect` and `bind` take it; whether it is one.
#[must_use]
pub fn socket_address(raw: &[u8]) -> bool {
    socket::parse(raw).is_ok()
}

/// The first bytes of a file that runs; whether they name an interpreter.
#[must_use]
pub fn interpreter(bytes: &[u8]) -> bool {
    let mut head = [0; exec::HEAD_BYTES];
    head.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    exec::parse_shebang(&head, bytes.len() >= exec::HEAD_BYTES).is_ok_and(|line| line.is_some())
}

/// A process's `status`; whether it could be read.
#[must_use]
pub fn process_status(text: &[u8]) -> bool {
    caller::parse_status(text).is_some()
}
