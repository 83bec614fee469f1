//! The page of each code that a charter's findings carry.

/// Code, title and page of every finding; `flyball explain CODE` prints the page.
pub const CODES: &[(&str, &str, &str)] = &[];
