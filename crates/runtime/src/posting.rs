//! What Flyball itself sends to others over HTTP: one request, one short answer, bounded in time and length. By TLS where the address
//! says so, verified by the certificates that this machine trusts.

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::HeaderMap;
use hyper::rt::{Read, Write};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// Where requests go.
#[derive(Clone)]
pub(crate) struct Poster {
    host: String,
    port: u16,
    /// As the `Host` header has it.
    authority: String,
    path: String,
    /// `None` is plain HTTP.
    tls: Option<Arc<ClientConfig>>,
    headers: HeaderMap,
}

impl Poster {
    /// One that sends to that address.
    ///
    /// # Errors
    /// What is wrong with the address, or why no TLS can be had.
    pub(crate) fn to(url: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{url}` {why}");
        let uri: Uri = url.parse().map_err(|_| wrong("is no address"))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("is not an `http://` or `https://` address")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("has a user in it"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let tls = if is_tls { Some(flyball_gateway::http::trusted()?.0) } else { None };
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Self { host, port, authority: authority.as_str().to_owned(), path, tls, headers: HeaderMap::new() })
    }

    /// The same with these headers on each request.
    pub(crate) fn with(self, headers: HeaderMap) -> Self {
        Self { headers, ..self }
    }

    /// Posts a body; gives the status and the answer's text.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) fn post(
        &self,
        kind: &str,
        body: Vec<u8>,
        within: Duration,
        answer_bytes_max: usize,
    ) -> Result<(u16, String), String> {
        let system = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        let request = Request::post(&self.path).header("host", &self.authority).header("content-type", kind);
        let mut request = request.body(Full::new(Bytes::from(body))).map_err(|e| e.to_string())?;
        request.headers_mut().extend(self.headers.clone());
        let place = format!("{}:{}", self.host, self.port);
        let asked = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
            let stream = stream.map_err(|e| format!("`{place}`: {e}"))?;
            match &self.tls {
                None => exchange(TokioIo::new(stream), request, answer_bytes_max).await,
                Some(tls) => {
                    let name = ServerName::try_from(self.host.clone()).map_err(|e| e.to_string())?;
                    let opened = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
                    let stream = opened.map_err(|e| format!("`{place}`: {e}"))?;
                    exchange(TokioIo::new(stream), request, answer_bytes_max).await
                }
            }
        };
        let answer = system.block_on(async {
            let timed = tokio::time::timeout(within, asked).await;
            timed.unwrap_or_else(|_| Err(format!("`{place}` did not answer within {} ms", within.as_millis())))
        });
        // A name that is still being looked up is nobody's any more.
        system.shutdown_background();
        answer
    }
}

async fn exchange(
    stream: impl Read + Write + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    answer_bytes_max: usize,
) -> Result<(u16, String), String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), answer_bytes_max).collect().await.map_err(|e| e.to_string())?;
    Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn an_address_is_read_whole_or_not_at_all() {
        let read = |url: &str| Poster::to(url).map(|p| (p.host, p.port, p.authority, p.path, p.tls.is_some()));
        assert_eq!(
            read("http://127.0.0.1:8787/a/v1?x=1").unwrap(),
            ("127.0.0.1".into(), 8787, "127.0.0.1:8787".into(), "/a/v1?x=1".into(), false)
        );
        assert_eq!(read("http://[::1]").unwrap(), ("::1".into(), 80, "[::1]".into(), "/".into(), false));
        let tls = read("https://collector.example/v1/traces").unwrap();
        assert_eq!((tls.1, tls.4), (443, true));
        for wrong in ["", "host:80", "ftp://host/", "http://", "http://user:word@host/", "http://a b/", "/path"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    /// Over TLS it speaks with whom it trusts, and sends nothing to anybody else.
    #[test]
    fn who_answers_over_tls_is_verified() {
        use std::io::{Read as _, Write as _};
        use tokio_rustls::rustls::{self, pki_types};
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = pki_types::PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let server = server.unwrap().with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key.into());
        let (server, listener) = (Arc::new(server.unwrap()), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let url = format!("https://{}/x", listener.local_addr().unwrap());
        let serving = std::thread::spawn(move || {
            let served = |stream: std::net::TcpStream| -> std::io::Result<String> {
                let connection = rustls::ServerConnection::new(Arc::clone(&server)).unwrap();
                let mut tls = rustls::StreamOwned::new(connection, stream);
                let mut heard = Vec::new();
                while !heard.ends_with(b"hello") {
                    let mut buffer = [0; 1024];
                    let read = tls.read(&mut buffer)?;
                    if read == 0 {
                        break;
                    }
                    heard.extend(buffer.into_iter().take(read));
                }
                tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
                Ok(String::from_utf8_lossy(&heard).into_owned())
            };
            [(); 2].map(|()| served(listener.accept().unwrap().0))
        });
        let mut poster = Poster::to(&url).unwrap();
        let post = |poster: &Poster| poster.post("text/plain", b"hello".to_vec(), Duration::from_secs(60), 1024);
        assert!(post(&poster).unwrap_err().contains("certificate"), "nobody here vouches for it");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(own.cert.der().clone()).unwrap();
        poster.tls = Some(flyball_gateway::http::client_config(roots).unwrap());
        assert_eq!(post(&poster).unwrap(), (200, "ok".to_owned()));
        let [untrusted, trusted] = serving.join().unwrap();
        assert!(untrusted.is_err());
        assert!(trusted.unwrap().starts_with("POST /x HTTP/1.1\r\n"));
    }
}
