//! Who a contact is: one spelling for each person, so that nobody counts twice and no agent passes for a person.

/// How a key is named that answers are signed by.
const KEY: &str = "key:";
/// The one kind of key that is taken.
const ALGORITHM: &str = "ssh-ed25519";
/// How the public keys of that kind begin, as OpenSSH writes them: the lengths and the algorithm's name.
const KEY_BEGINS: &str = "AAAAC3NzaC1lZDI1NTE5AAAAI";
/// 51 bytes in base64. INVARIANT: a multiple of three bytes has one spelling, so that equal keys are equal texts.
const KEY_CHARS: usize = 68;

/// What is wrong with a contact, and what to write.
pub(super) enum Wrong {
    Nobody,
    Agent,
    Key(&'static str),
}

/// The contact in the spelling by which it is compared: a key without its comment.
pub(super) fn contact(text: &str) -> Result<String, Wrong> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Wrong::Nobody);
    }
    let scheme = text.split_once(':').map(|(scheme, rest)| (scheme.trim().to_ascii_lowercase(), rest.trim()));
    match scheme {
        Some((scheme, _)) if scheme == "agent" => Err(Wrong::Agent),
        Some((scheme, "")) if scheme == "user" || scheme == "key" => Err(Wrong::Nobody),
        Some((scheme, rest)) if scheme == "key" => key(rest).map_err(Wrong::Key),
        Some((scheme, rest)) if scheme == "user" => Ok(format!("user:{rest}")),
        _ => Ok(text.to_owned()),
    }
}

fn key(text: &str) -> Result<String, &'static str> {
    let mut words = text.split_whitespace();
    let (algorithm, key) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if algorithm != ALGORITHM {
        return Err("only `ssh-ed25519` keys sign answers");
    }
    let is_base64 = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/');
    if key.len() != KEY_CHARS || !key.starts_with(KEY_BEGINS) || !is_base64 {
        return Err("this is no whole `ssh-ed25519` public key");
    }
    Ok(format!("{KEY}{ALGORITHM} {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[test]
    fn one_key_has_one_spelling() {
        let plain = format!("key:ssh-ed25519 {GOOD}");
        for text in [
            plain.clone(),
            format!(" KEY: ssh-ed25519   {GOOD}  "),
            format!("key:ssh-ed25519\t{GOOD} alice@corp and more"),
        ] {
            assert!(matches!(contact(&text), Ok(found) if found == plain), "{text}");
        }
    }

    #[test]
    fn what_is_nobody_an_agent_or_no_key_is_told() {
        for text in ["", "  ", "user:", "user:  ", "key:"] {
            assert!(matches!(contact(text), Err(Wrong::Nobody)), "{text}");
        }
        for text in ["agent:x", " Agent:x", "AGENT :x"] {
            assert!(matches!(contact(text), Err(Wrong::Agent)), "{text}");
        }
        let short = GOOD.get(..67).unwrap_or_default();
        for text in [
            format!("key:ssh-rsa {GOOD}"),
            format!("key:{GOOD}"),
            format!("key:ssh-ed25519 {short}"),
            format!("key:ssh-ed25519 {short}="),
            format!("key:ssh-ed25519 {}", GOOD.replacen('C', "D", 1)),
            "key:ssh-ed25519".to_owned(),
        ] {
            assert!(matches!(contact(&text), Err(Wrong::Key(_))), "{text}");
        }
        assert!(matches!(contact(" user: ann "), Ok(found) if found == "user:ann"));
        assert!(matches!(contact("ann@corp"), Ok(found) if found == "ann@corp"));
    }
}
