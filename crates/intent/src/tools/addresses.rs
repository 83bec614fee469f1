//! What something could be sent to, or fetched from: links, sites, e-mail addresses, accounts.

/// Links of one text, at most, see [`links`].
const LINKS_MAX: usize = 256;

/// Endings that a bare `name.ending` is a site by. Others need `www.`, a scheme, a path or an `@`: `report.docx` is a file.
const ENDINGS: &[&str] = &[
    "com", "org", "net", "io", "co", "info", "biz", "dev", "app", "ai", "xyz", "site", "online", "shop", "club", "me",
    "us", "uk", "de", "fr", "eu", "ru", "cn", "in", "nl", "ch", "at", "it", "es", "br", "jp", "tk", "top", "cc", "tv",
    "link", "page", "cloud", "edu", "gov",
];

/// The links and sites in a text, as they are written. Of too many the first, and the text itself, which nobody can know.
pub(super) fn links(text: &str) -> Vec<&str> {
    let is_apart = |c: char| {
        c.is_whitespace()
            || matches!(c, '<' | '>' | '(' | ')' | '[' | ']' | '{' | '}' | '"' | '\'' | '`' | '|' | ';' | ',')
    };
    let mut out: Vec<&str> = Vec::new();
    for word in text.split(is_apart) {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '/').trim_end_matches('/');
        if !is_link(word) {
            continue;
        }
        if out.len() >= LINKS_MAX {
            out.push(text);
            break;
        }
        out.push(word);
    }
    out
}

/// Whether a whole value is an address: a link or site, an e-mail address, an account's number.
pub(super) fn is_address(word: &str) -> bool {
    let is_mail = word.rsplit_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
    !word.contains(char::is_whitespace) && (is_mail || is_link(word) || is_account(word))
}

fn is_link(word: &str) -> bool {
    let is_www = word.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("www."));
    word.contains("://") || is_www || (!word.contains('@') && is_site(word))
}

fn is_site(word: &str) -> bool {
    let (host, _) = word.split_once(['/', '?', '#', ':']).unwrap_or((word, ""));
    let is_label = |l: &str| !l.is_empty() && l.chars().all(|c| c.is_alphanumeric() || c == '-');
    let mut labels = host.rsplit('.');
    let ending = labels.next().unwrap_or_default();
    let is_known = ENDINGS.iter().any(|e| ending.eq_ignore_ascii_case(e));
    let mut rest = labels.peekable();
    is_known && rest.peek().is_some() && rest.all(is_label)
}

/// Two to four letters, then letters and at least ten digits: an IBAN, or what looks like one.
fn is_account(word: &str) -> bool {
    let country = word.bytes().take_while(u8::is_ascii_alphabetic).count();
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    word.bytes().all(|b| b.is_ascii_alphanumeric()) && (2..=4).contains(&country) && digits >= 10 && word.len() <= 40
}
