//! What stands at a path, in little room: a session may touch a million of them.

use flyball_ledger::Digest;
use flyball_sandbox::workspace::Node;
use std::fmt::Write as _;

/// A [`Node`], whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packed {
    Absent,
    File {
        digest: Digest,
        size: u64,
        mode: u32,
    },
    Directory {
        mode: u32,
    },
    /// A link, a device, a digest that is written otherwise.
    Other(Box<Node>),
}

impl Packed {
    pub fn of(node: &Node) -> Self {
        match node {
            Node::Absent => Self::Absent,
            Node::Directory { mode } => Self::Directory { mode: *mode },
            Node::File { digest, size, mode } => match digest.parse::<Digest>() {
                Ok(parsed) if parsed.to_string() == *digest => Self::File { digest: parsed, size: *size, mode: *mode },
                _ => Self::Other(Box::new(node.clone())),
            },
            other => Self::Other(Box::new(other.clone())),
        }
    }

    pub fn node(&self) -> Node {
        match self {
            Self::Absent => Node::Absent,
            Self::Directory { mode } => Node::Directory { mode: *mode },
            Self::File { digest, size, mode } => Node::File { digest: digest.to_string(), size: *size, mode: *mode },
            Self::Other(node) => Node::clone(node),
        }
    }

    /// Writes the node as it displays itself; a file without making its text first, for there are many of them.
    pub fn write(&self, out: &mut String) {
        // Writing to a string can't fail.
        let _ = match self {
            Self::File { digest, size, mode } => write!(out, "file {digest} {size} {mode:04o}"),
            other => write!(out, "{}", other.node()),
        };
    }

    pub fn is(&self, node: &Node) -> bool {
        match (self, node) {
            (Self::Absent, Node::Absent) => true,
            (Self::Directory { mode }, Node::Directory { mode: other }) => mode == other,
            (Self::File { size, mode, .. }, Node::File { size: s, mode: m, .. }) if (size, mode) != (s, m) => false,
            (Self::Absent | Self::Directory { .. }, _) => false,
            (Self::File { digest, .. }, Node::File { digest: other, .. }) => digest.is(other),
            (Self::File { .. }, _) => false,
            (Self::Other(own), other) => **own == *other,
        }
    }
}

/// What the real tree had where a session first touched it: nothing, mostly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// The record does not say.
    Unknown,
    Absent,
    Is(Box<Packed>),
}

impl Base {
    pub fn of(node: Option<&Node>) -> Self {
        match node {
            None => Self::Unknown,
            Some(Node::Absent) => Self::Absent,
            Some(node) => Self::Is(Box::new(Packed::of(node))),
        }
    }

    pub fn node(&self) -> Option<Node> {
        match self {
            Self::Unknown => None,
            Self::Absent => Some(Node::Absent),
            Self::Is(node) => Some(node.node()),
        }
    }

    /// Whether that stands there now.
    pub fn is(&self, now: &Packed) -> bool {
        match self {
            Self::Unknown => false,
            Self::Absent => *now == Packed::Absent,
            Self::Is(node) => **node == *now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back_and_takes_little_room() {
        let digest = Digest::of(b"x").to_string();
        let file = |digest: &str| Node::File { digest: digest.to_owned(), size: 7, mode: 0o644 };
        let all = [
            Node::Absent,
            file(&digest),
            file(&digest.to_uppercase()),
            file("sha256:7"),
            file(""),
            Node::File { digest: digest.clone(), size: 8, mode: 0o600 },
            Node::Directory { mode: 0o755 },
            Node::Directory { mode: 0o700 },
            Node::Symlink { target: "a".into() },
            Node::Other,
        ];
        for one in &all {
            assert_eq!(Packed::of(one).node(), *one);
            let mut written = String::new();
            Packed::of(one).write(&mut written);
            assert_eq!(written, one.to_string());
            assert_eq!(Base::of(Some(one)).node().as_ref(), Some(one));
            for other in &all {
                assert_eq!(Packed::of(one).is(other), one == other, "{one} {other}");
                assert_eq!(Base::of(Some(one)).is(&Packed::of(other)), one == other, "{one} {other}");
            }
        }
        assert!(size_of::<Packed>() <= 48 && size_of::<Base>() <= 16);
    }
}
