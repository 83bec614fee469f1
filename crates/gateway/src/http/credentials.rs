//! Credentials that the agent never sees: it holds a placeholder, and the secret is put in its place in one header of requests to one
//! host, over TLS.
//!
//! INVARIANT: after the request was ruled on and recorded, so that neither has the secret; and whatever comes back from where it goes
//! passes with the secret blotted out, in case the server says it again, then or later.

use super::Place;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;

/// Shorter secrets stand in ordinary text by chance.
const SECRET_BYTES_MIN: usize = 8;

/// A secret, and where it goes.
pub struct Credential {
    host: String,
    port: u16,
    header: HeaderName,
    placeholder: String,
    secret: Arc<[u8]>,
}

impl Credential {
    /// One for a host, by its name in lower case, at a port.
    ///
    /// # Errors
    /// What is wrong with the secret or the header, without saying the secret.
    pub fn new(host: &str, port: u16, header: &str, placeholder: &str, secret: &str) -> Result<Self, &'static str> {
        let header = header.parse().map_err(|_| "its header can't be one")?;
        if secret.len() < SECRET_BYTES_MIN {
            return Err("its secret is shorter than 8 bytes");
        }
        HeaderValue::from_str(secret).map_err(|_| "its secret can't stand in a header")?;
        let secret = secret.as_bytes().into();
        Ok(Self { host: host.to_owned(), port, header, placeholder: placeholder.to_owned(), secret })
    }

    fn is_for(&self, place: &Place) -> bool {
        place.scheme == "https" && place.port == self.port && place.host.trim_end_matches('.') == self.host
    }
}

/// Puts the secrets in that are for this place, where their placeholders stand. Gives all that the place may know.
pub(super) fn put_in(all: &[Credential], place: &Place, headers: &mut HeaderMap) -> Vec<Arc<[u8]>> {
    let here = all.iter().filter(|credential| credential.is_for(place));
    let mut put: Vec<Arc<[u8]>> = here.map(|credential| Arc::clone(&credential.secret)).collect();
    for credential in all.iter().filter(|credential| credential.is_for(place)) {
        let Some(values) = headers.contains_key(&credential.header).then(|| headers.get_all(&credential.header)) else {
            continue;
        };
        let mut found = false;
        let values: Vec<HeaderValue> = values
            .iter()
            .map(|value| match put_into(credential, value) {
                Some((new, more)) => {
                    found = true;
                    put.extend(more);
                    new
                }
                None => value.clone(),
            })
            .collect();
        if found {
            headers.remove(&credential.header);
            values.into_iter().for_each(|value| _ = headers.append(credential.header.clone(), value));
        }
    }
    put
}

/// The value with the secret, and a form of the secret that it stands in there.
fn put_into(credential: &Credential, value: &HeaderValue) -> Option<(HeaderValue, Option<Arc<[u8]>>)> {
    let text = value.to_str().ok()?;
    let secret = std::str::from_utf8(&credential.secret).ok()?;
    let mut encoded = None;
    let new = match text.split_once(' ') {
        // Name and password together (RFC 7617), as git sends a token.
        Some((scheme, pair)) if scheme.eq_ignore_ascii_case("basic") => {
            let pair = String::from_utf8(STANDARD.decode(pair.trim()).ok()?).ok()?;
            let new = pair.replace(&credential.placeholder, secret);
            let packed = (new != pair).then(|| STANDARD.encode(new))?;
            encoded = Some(packed.as_bytes().into());
            format!("Basic {packed}")
        }
        _ => text.replace(&credential.placeholder, secret),
    };
    if new == text {
        return None;
    }
    let mut value = HeaderValue::from_str(&new).ok()?;
    value.set_sensitive(true);
    Some((value, encoded))
}

/// Blots secrets out of what passes, wherever it is cut into pieces; nothing changes its length.
pub(super) struct Blot {
    secrets: Vec<Arc<[u8]>>,
    /// What may be the beginning of one.
    held: Vec<u8>,
}

impl Blot {
    /// `None` where there is nothing to blot out.
    pub fn new(secrets: Vec<Arc<[u8]>>) -> Option<Self> {
        (!secrets.is_empty()).then(|| Self { secrets, held: Vec::new() })
    }

    /// What passes of it by now.
    pub fn pass(&mut self, data: &Bytes) -> Bytes {
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(data);
        blot(&self.secrets, &mut bytes);
        let keep = self.secrets.iter().map(|secret| beginning(secret, &bytes)).max().unwrap_or_default();
        self.held = bytes.split_off(bytes.len().saturating_sub(keep));
        bytes.into()
    }

    /// What was held back, when no more comes.
    pub fn rest(&mut self) -> Option<Bytes> {
        let held = std::mem::take(&mut self.held);
        (!held.is_empty()).then(|| held.into())
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Bytes that are held back.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Of a header's value at once.
    pub fn headers(&self, headers: &mut HeaderMap) {
        for value in headers.values_mut() {
            let mut bytes = value.as_bytes().to_vec();
            blot(&self.secrets, &mut bytes);
            if bytes != value.as_bytes()
                && let Ok(new) = HeaderValue::from_bytes(&bytes)
            {
                *value = new;
            }
        }
    }
}

fn blot(secrets: &[Arc<[u8]>], bytes: &mut [u8]) {
    for secret in secrets {
        let mut from = 0;
        while let Some(at) = find(bytes.get(from..).unwrap_or_default(), secret) {
            let begin = from.saturating_add(at);
            from = begin.saturating_add(secret.len());
            if let Some(found) = bytes.get_mut(begin..from) {
                found.fill(b'*');
            }
        }
    }
}

fn find(bytes: &[u8], secret: &[u8]) -> Option<usize> {
    let first = secret.first()?;
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|byte| byte == first)?;
        if bytes.get(at..)?.starts_with(secret) {
            return Some(at);
        }
        from = at + 1;
    }
}

/// How much of the end may be the secret's beginning.
fn beginning(secret: &[u8], bytes: &[u8]) -> usize {
    let most = secret.len().saturating_sub(1).min(bytes.len());
    (1..=most).rev().find(|length| secret.get(..*length).is_some_and(|begin| bytes.ends_with(begin))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn place(scheme: &'static str, host: &str, port: u16) -> Place {
        Place { scheme, host: host.into(), port, agent: "a".into(), cause: Vec::new() }
    }

    #[test]
    fn a_secret_goes_to_its_host_in_its_header_and_nowhere_else() {
        let all = [Credential::new("api.test", 443, "Authorization", "PLACE-1", "s3cret-value").unwrap()];
        let sent = |place: Place, name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            let put = put_in(&all, &place, &mut headers);
            (headers[name].to_str().unwrap().to_owned(), put.len())
        };
        let there = || place("https", "api.test", 443);
        assert_eq!(sent(there(), "authorization", "Bearer PLACE-1"), ("Bearer s3cret-value".into(), 1));
        let basic = format!("Basic {}", STANDARD.encode("x:PLACE-1"));
        let expect = format!("Basic {}", STANDARD.encode("x:s3cret-value"));
        assert_eq!(sent(there(), "authorization", &basic), (expect, 2), "the pair is blotted out too");
        // Said in the answer to another request there, it is blotted out all the same.
        assert_eq!(sent(there(), "x-api-key", "Bearer PLACE-1"), ("Bearer PLACE-1".into(), 1));
        assert_eq!(sent(there(), "authorization", "Bearer PLACE-2"), ("Bearer PLACE-2".into(), 1));
        for (place, name) in [
            (place("http", "api.test", 443), "authorization"),
            (place("https", "api.test", 8443), "authorization"),
            (place("https", "evil-api.test", 443), "authorization"),
            (place("https", "api.test.evil", 443), "authorization"),
        ] {
            assert_eq!(sent(place, name, "Bearer PLACE-1"), ("Bearer PLACE-1".into(), 0));
        }
        assert!(Credential::new("h", 443, "a", "p", "short").is_err());
        assert!(Credential::new("h", 443, "a", "p", "long enough\n").is_err());
    }

    /// In every part of an answer that a server can say something in.
    #[tokio::test]
    async fn no_part_of_an_answer_says_it() {
        use super::super::{body::Through, forward::blotted};
        use hyper::body::{Body, Frame};
        let mut trailers = HeaderMap::new();
        trailers.insert("x-said", "a s3cret-value".parse().unwrap());
        let body = Through::frames(vec![Frame::data(Bytes::from("s3cret-value")), Frame::trailers(trailers)]);
        let mut response = hyper::Response::new(body);
        let reason = hyper::ext::ReasonPhrase::from_static(b"s3cret-value");
        response.extensions_mut().insert(reason);
        let mut response = blotted(response, Blot::new(vec![b"s3cret-value".as_slice().into()]));
        assert!(response.extensions().get::<hyper::ext::ReasonPhrase>().is_none());
        let mut said = Vec::new();
        let body = response.body_mut();
        while let Some(frame) = std::future::poll_fn(|context| std::pin::Pin::new(&mut *body).poll_frame(context)).await
        {
            said.push(match frame.unwrap().into_data() {
                Ok(data) => String::from_utf8_lossy(&data).into_owned(),
                Err(frame) => format!("{:?}", frame.into_trailers().unwrap()["x-said"]),
            });
        }
        assert_eq!(said, ["************", "\"a ************\""]);
    }

    #[test]
    fn what_is_said_again_is_blotted_out_wherever_it_is_cut() {
        let text = b"a s3cret-value, s3cs3cret-values3cret-value s3cret-valu".as_slice();
        for size in 1..text.len() {
            let mut blot = Blot::new(vec![b"s3cret-value".as_slice().into()]).unwrap();
            let mut out = Vec::new();
            for piece in text.chunks(size) {
                out.extend_from_slice(&blot.pass(&Bytes::copy_from_slice(piece)));
            }
            out.extend_from_slice(&blot.rest().unwrap_or_default());
            assert_eq!(out, b"a ************, s3c************************ s3cret-valu", "{size}");
        }
    }
}
