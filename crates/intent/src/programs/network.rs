//! Programs that reach out: to which host, and with what of ours.

use crate::http::{HttpRequest, http_actions};
use crate::options::Table;
use crate::reading::{Command, Reading, Word};
use crate::shell::is_no_file;
use flyball_kernel::Value;

const READER: &str = "network/1";

pub(super) fn read(to: &mut Reading<'_>, by: &Command) {
    match by.program.as_str() {
        "curl" => curl(to, by),
        "wget" => wget(to, by),
        "ssh" => ssh(to, by),
        "scp" | "rsync" | "sftp" => copy(to, by),
        _ => connect(to, by),
    }
}

/// What matters of a URL.
pub(super) struct Url {
    pub scheme: String,
    pub host: String,
    pub port: i64,
    pub path: String,
}

/// Reads `scheme://user@host:port/path`. `None` where it is none of the schemes that are known, or has no host.
pub(super) fn url(text: &str) -> Option<Url> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let standard = match scheme.as_str() {
        "http" | "ws" => 80,
        "https" | "wss" => 443,
        "ssh" | "git+ssh" | "sftp" | "scp" => 22,
        "git" => 9418,
        "ftp" => 21,
        "ftps" => 990,
        _ => return None,
    };
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[') {
        Some(six) => {
            let (host, rest) = six.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        None | Some("") => standard,
        Some(p) => p.parse::<u16>().ok()?.into(),
    };
    // A glob of curl's, a variable of somebody's template.
    let is_plain = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:%".contains(&b));
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let path = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    is_plain.then_some(Url { scheme, host, port, path })
}

fn request(to: &mut Reading<'_>, by: &Command, word: &Word, method: &str, is_sure: bool) {
    let text = word.known().unwrap_or_default();
    let found = if text.contains("://") { url(text) } else { url(&format!("http://{text}")) };
    let Some(found) = found.filter(|_| word.known().is_some()) else {
        to.imply(by, READER, "http.request", &[("method", method.into())], &[], false);
        to.imply(by, READER, "net.connect", &[], &[], false);
        return;
    };
    if found.scheme.starts_with("http") {
        let fields: [(&str, Value); 3] =
            [("method", method.into()), ("host", found.host.as_str().into()), ("path", found.path.into())];
        to.imply(by, READER, "http.request", &fields, &[("scheme", found.scheme.into())], is_sure);
    }
    connection(to, by, &found.host, found.port);
}

fn connection(to: &mut Reading<'_>, by: &Command, host: &str, port: i64) {
    to.imply(by, READER, "net.connect", &[("host", host.into()), ("port", port.into())], &[], !host.is_empty());
}

fn sends(to: &mut Reading<'_>, by: &Command, word: &Word) {
    if word.known().is_none_or(|p| !is_no_file(p)) {
        to.on_path(by, READER, "fs.read", word, &[]);
    }
}

fn writes(to: &mut Reading<'_>, by: &Command, word: &Word) {
    if word.known().is_none_or(|p| !is_no_file(p)) {
        to.on_path(by, READER, "fs.write", word, &[("create", true.into())]);
    }
}

const CURL: Table = Table::of(&[
    "a append",
    "A user-agent=",
    "b cookie=",
    "c cookie-jar=",
    "C continue-at=",
    "d data=",
    "data-ascii=",
    "data-binary=",
    "data-raw=",
    "data-urlencode=",
    "json=",
    "D dump-header=",
    "e referer=",
    "E cert=",
    "f fail",
    "fail-with-body",
    "F form=",
    "form-string=",
    "G get",
    "g globoff",
    "H header=",
    "h help",
    "i include show-headers",
    "I head",
    "j junk-session-cookies",
    "k insecure",
    "K config=",
    "l list-only",
    "L location",
    "location-trusted",
    "m max-time=",
    "M manual",
    "n netrc",
    "netrc-file=",
    "N no-buffer",
    "o output=",
    "O remote-name",
    "J remote-header-name",
    "p proxytunnel",
    "P ftp-port=",
    "q disable",
    "Q quote=",
    "r range=",
    "R remote-time",
    "s silent",
    "S show-error",
    "t telnet-option=",
    "T upload-file=",
    "u user=",
    "U proxy-user=",
    "v verbose",
    "V version",
    "w write-out=",
    "x proxy=",
    "X request=",
    "y speed-time=",
    "Y speed-limit=",
    "z time-cond=",
    "Z parallel",
    "0 http1.0",
    "1 tlsv1",
    "2 sslv2",
    "3 sslv3",
    "4 ipv4",
    "6 ipv6",
    "# progress-bar",
    "url=",
    "url-query=",
    "connect-timeout=",
    "retry=",
    "retry-delay=",
    "retry-max-time=",
    "retry-connrefused",
    "retry-all-errors",
    "compressed",
    "cacert=",
    "capath=",
    "key=",
    "resolve=",
    "connect-to=",
    "interface=",
    "max-redirs=",
    "http1.1",
    "http2",
    "http3",
    "tlsv1.2",
    "tlsv1.3",
    "unix-socket=",
    "abstract-unix-socket=",
    "create-dirs",
    "output-dir=",
    "oauth2-bearer=",
    "no-progress-meter",
    "aws-sigv4=",
    "digest",
    "basic",
    "anyauth",
    "max-filesize=",
    "limit-rate=",
    "trace=",
    "trace-ascii=",
    "stderr=",
    "socks5=",
    "socks5-hostname=",
    "socks4=",
    "socks4a=",
    "preproxy=",
    "noproxy=",
    "path-as-is",
    "remove-on-error",
    "request-target=",
    "raw",
    "tr-encoding",
    "ssl-reqd",
    "doh-url=",
    "dns-servers=",
    ": next",
    "parallel-max=",
    "variable=",
    "cert-type=",
    "key-type=",
    "pass=",
    "ciphers=",
    "keepalive-time=",
    "local-port=",
    "proto=",
    "proto-default=",
    "proto-redir=",
    "etag-save=",
    "etag-compare=",
    "rate=",
    "fail-early",
    "crlf",
    "http0.9",
    "skip-existing",
]);

fn curl(to: &mut Reading<'_>, by: &Command) {
    let line = CURL.read(&by.args);
    let mut body = false;
    for (name, value) in &line.options {
        let Some(value) = value else { continue };
        let at = |word: &Word| match word {
            Word::Known(text) => text.strip_prefix('@').map(|f| Word::Known(f.to_owned())),
            unknown => Some(unknown.clone()),
        };
        match *name {
            "data" | "data-ascii" | "data-binary" | "json" | "data-urlencode" => {
                body = true;
                let file = match value {
                    // `name@file`
                    Word::Known(text) if *name == "data-urlencode" && !text.contains('=') => {
                        text.split_once('@').map(|(_, f)| Word::Known(f.to_owned()))
                    }
                    other => at(other),
                };
                if let Some(file) = file {
                    sends(to, by, &file);
                }
            }
            "data-raw" | "form-string" => body = true,
            "form" => {
                body = true;
                let content = value.known().and_then(|v| v.split_once('=')).map(|(_, c)| c);
                match content {
                    Some(c) => {
                        if let Some(file) = c.strip_prefix(['@', '<']) {
                            let file = file.split(';').next().unwrap_or_default();
                            sends(to, by, &Word::Known(file.to_owned()));
                        }
                    }
                    None => sends(to, by, &Word::Unknown(value.written().to_owned())),
                }
            }
            "header" | "write-out" | "cookie" | "variable" => {
                if let Some(file) = at(value).filter(|f| f.known().is_some()) {
                    sends(to, by, &file);
                }
            }
            "upload-file" | "netrc-file" | "cert" | "key" => sends(to, by, value),
            "config" | "abstract-unix-socket" => to.is_opaque = true,
            "output" | "cookie-jar" | "dump-header" | "trace" | "trace-ascii" | "stderr" | "etag-save" => {
                writes(to, by, value)
            }
            "proxy" | "preproxy" | "socks5" | "socks5-hostname" | "socks4" | "socks4a" | "doh-url" => {
                let text = value.known().unwrap_or_default();
                let found = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
                let found = url(&found.replacen("socks5h://", "http://", 1).replacen("socks5://", "http://", 1));
                let (host, port) = found.map(|u| (u.host, u.port)).unwrap_or_default();
                connection(to, by, &host, port);
            }
            // The name in the URL is not where it goes.
            "resolve" | "connect-to" => to.imply(by, READER, "net.connect", &[], &[], false),
            _ => {}
        }
    }
    let method = match line.value("request") {
        Some(word) => word.known().unwrap_or_default().to_ascii_uppercase(),
        None if line.has("upload-file") => "PUT".into(),
        None if line.has("head") => "HEAD".into(),
        None if body && !line.has("get") => "POST".into(),
        None => "GET".into(),
    };
    let is_sure = !line.is_uncertain && !method.is_empty();
    // What is sent, where the arguments say all of it.
    let sent: Vec<&(&'static str, Option<Word>)> = line
        .options
        .iter()
        .filter(|(name, _)| name.starts_with("data") || *name == "json" || *name == "form")
        .collect();
    let text = match sent.as_slice() {
        [] => Some(String::new()),
        [("data" | "data-ascii" | "data-binary" | "data-raw" | "json", Some(Word::Known(text)))]
            if !text.starts_with('@') && !line.has("upload-file") =>
        {
            Some(text.clone())
        }
        _ => None,
    };
    for word in line.values("url").cloned().chain(line.all()) {
        request(to, by, &word, &method, is_sure);
        service(to, by, &word, &method, text.as_deref());
    }
}

/// What a well-known service does on the request: the same that whoever opens the connection reads, who knows all of its body.
/// Told only where nobody does.
fn service(to: &mut Reading<'_>, by: &Command, word: &Word, method: &str, body: Option<&str>) {
    if !to.commands {
        return;
    }
    let found =
        word.known().and_then(|text| if text.contains("://") { url(text) } else { url(&format!("http://{text}")) });
    let Some(found) = found.filter(|found| found.scheme.starts_with("http")) else { return };
    let (scheme, host) = (found.scheme.as_str(), found.host.as_str());
    let asked =
        HttpRequest { method, scheme, host, target: &found.path, body: body.map(str::as_bytes), beginning: None };
    match http_actions(&asked) {
        // The first is the request itself.
        Ok(actions) => actions.into_iter().skip(1).for_each(|action| to.also(by, READER, action)),
        Err(_) => to.is_opaque = true,
    }
}

const WGET: Table = Table {
    abbreviates: true,
    ..Table::of(&[
        "V version",
        "h help",
        "b background",
        "e execute=",
        "o output-file=",
        "a append-output=",
        "d debug",
        "q quiet",
        "v verbose",
        "nv",
        "i input-file=",
        "F force-html",
        "B base=",
        "t tries=",
        "O output-document=",
        "nc",
        "c continue",
        "N timestamping",
        "S server-response",
        "spider",
        "T timeout=",
        "w wait=",
        "Q quota=",
        "4 inet4-only",
        "6 inet6-only",
        "user=",
        "password=",
        "P directory-prefix=",
        "nd",
        "x",
        "nH",
        "cut-dirs=",
        "U user-agent=",
        "header=",
        "referer=",
        "post-data=",
        "post-file=",
        "method=",
        "body-data=",
        "body-file=",
        "no-check-certificate",
        "ca-certificate=",
        "r recursive",
        "l level=",
        "k",
        "m mirror",
        "p page-requisites",
        "A accept=",
        "R reject=",
        "D domains=",
        "L",
        "np",
        "E",
        "n",
        "H",
        "I=",
        "X=",
        "K",
        "show-progress",
        "progress=",
        "no-verbose",
        "no-clobber",
        "no-parent",
        "load-cookies=",
        "save-cookies=",
        "content-disposition",
        "certificate=",
        "private-key=",
        "limit-rate=",
        "retry-connrefused",
        "max-redirect=",
        "compression=",
        "no-config",
        "config=",
    ])
};

fn wget(to: &mut Reading<'_>, by: &Command) {
    let line = WGET.read(&by.args);
    for (option, verb) in [("post-file", "r"), ("body-file", "r"), ("output-document", "w"), ("output-file", "w")] {
        if let Some(file) = line.value(option) {
            if verb == "r" { sends(to, by, file) } else { writes(to, by, file) }
        }
    }
    if line.has("input-file") || line.has("execute") || line.has("config") {
        to.is_opaque = true;
    }
    let method = match line.value("method") {
        Some(word) => word.known().unwrap_or_default().to_ascii_uppercase(),
        None if line.has("post-data") || line.has("post-file") => "POST".into(),
        None if line.has("spider") => "HEAD".into(),
        None => "GET".into(),
    };
    for word in line.all() {
        request(to, by, &word, &method, !line.is_uncertain && !method.is_empty());
    }
}

const SSH: Table = Table {
    stops: true,
    ..Table::of(&[
        "4", "6", "A", "a", "B=", "b=", "C", "c=", "D=", "E=", "e=", "F=", "f", "G", "g", "I=", "i=", "J=", "K", "k",
        "L=", "l=", "M", "m=", "N", "n", "O=", "o=", "P=", "p=", "Q=", "q", "R=", "S=", "s", "T", "t", "V", "v", "W=",
        "w=", "X", "x", "Y", "y",
    ])
};

fn ssh(to: &mut Reading<'_>, by: &Command) {
    let line = SSH.read(&by.args);
    if line.has("V") || line.has("Q") {
        return;
    }
    let mut port = line.value("p").map_or(Some(22), |p| p.known().and_then(|p| p.parse::<u16>().ok()).map(i64::from));
    let mut is_sure = !line.is_uncertain && !line.has("J") && !line.has("F");
    for option in line.values("o") {
        let text = option.known().unwrap_or_default().to_ascii_lowercase();
        let (name, value) = text.split_once(['=', ' ']).unwrap_or((&text, ""));
        match name {
            "port" => port = value.trim().parse::<u16>().ok().map(i64::from),
            // Another host than the one named, or a command of the host's that makes the connection.
            "hostname" | "proxyjump" | "proxycommand" => is_sure = false,
            _ => is_sure &= option.known().is_some(),
        }
    }
    let Some(host) = line.words.first() else { return };
    let text = host.known().unwrap_or_default();
    let found = if text.starts_with("ssh://") { url(text) } else { None };
    let (host, port) = match found {
        Some(url) => (url.host, Some(url.port)),
        None => (text.rsplit('@').next().unwrap_or_default().to_ascii_lowercase(), port),
    };
    let fields = [("host", host.as_str().into()), ("port", port.unwrap_or_default().into())];
    to.imply(by, READER, "net.connect", &fields, &[], is_sure && port.is_some() && !host.is_empty());
}

/// scp, sftp and rsync: `[user@]host:path` is elsewhere, everything else is here.
fn copy(to: &mut Reading<'_>, by: &Command) {
    let table = match by.program.as_str() {
        "rsync" => Table::of(&[
            "v verbose",
            "q quiet",
            "a archive",
            "r recursive",
            "R relative",
            "u update",
            "l links",
            "L copy-links",
            "p perms",
            "o owner",
            "g group",
            "t times",
            "D",
            "z compress",
            "P",
            "n dry-run",
            "e rsh=",
            "delete",
            "exclude=",
            "include=",
            "x",
            "c checksum",
            "h human-readable",
            "progress",
            "partial",
            "f filter=",
            "exclude-from=",
            "files-from=",
            "b backup",
            "S sparse",
            "H",
            "A",
            "X",
            "W",
            "i itemize-changes",
            "stats",
            "port=",
            "bwlimit=",
            "timeout=",
            "remove-source-files",
            "rsync-path=",
            "chmod=",
            "chown=",
        ]),
        _ => Table::of(&[
            "3", "4", "6", "A", "B", "b=", "C", "c=", "D=", "F=", "f", "i=", "J=", "l=", "N", "O", "o=", "P=", "p",
            "q", "R", "r", "S=", "s", "T", "v", "X=",
        ]),
    };
    let line = table.read(&by.args);
    let words = line.all();
    let port = if by.program == "rsync" {
        None
    } else {
        line.value("P").and_then(Word::known).and_then(|p| p.parse::<u16>().ok())
    };
    let last = words.len().saturating_sub(1);
    for (at, word) in words.iter().enumerate() {
        let remote = word.known().and_then(|w| {
            if w.contains("://") {
                return w.split_once("://").and_then(|(_, r)| r.split(['/', ':']).next()).map(str::to_owned);
            }
            let (host, _) = w.split_once(':')?;
            (!host.contains('/') && !host.is_empty()).then(|| host.to_owned())
        });
        match remote {
            Some(host) => {
                let host = host.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
                connection(to, by, &host, port.map_or(22, i64::from));
            }
            None if by.program == "sftp" => {
                connection(to, by, word.known().unwrap_or_default().rsplit('@').next().unwrap_or_default(), 22)
            }
            None if at == last => writes(to, by, word),
            None => sends(to, by, word),
        }
    }
    to.is_opaque |= line.is_uncertain && by.program == "rsync";
}

fn connect(to: &mut Reading<'_>, by: &Command) {
    let table = Table::of(&[
        "4",
        "6",
        "b=",
        "C",
        "c sh-exec=",
        "D",
        "d",
        "e exec=",
        "h",
        "I=",
        "i=",
        "k",
        "l listen",
        "M=",
        "m=",
        "N",
        "n",
        "O=",
        "o output=",
        "P=",
        "p=",
        "q=",
        "r",
        "S",
        "s=",
        "T=",
        "t",
        "U",
        "u udp",
        "V=",
        "v",
        "w=",
        "W=",
        "X=",
        "x=",
        "Z=",
        "z",
        "ssl",
        "proxy=",
        "a",
    ]);
    let line = table.read(&by.args);
    if line.has("exec") || line.has("sh-exec") {
        to.is_opaque = true;
    }
    let words = line.all();
    let port = |w: Option<&Word>| w.and_then(Word::known).and_then(|p| p.parse::<u16>().ok()).map(i64::from);
    if line.has("listen") {
        let at = port(line.value("p").or(words.last()));
        let fields = [("host", "".into()), ("port", at.unwrap_or_default().into())];
        to.imply(by, READER, "net.listen", &fields, &[], at.is_some());
        return;
    }
    let Some(host) = words.first() else { return };
    let at = port(words.get(1)).or(if by.program == "telnet" { Some(23) } else { None });
    let name = host.known().unwrap_or_default().to_ascii_lowercase();
    let fields = [("host", name.as_str().into()), ("port", at.unwrap_or_default().into())];
    to.imply(by, READER, "net.connect", &fields, &[], at.is_some() && !name.is_empty() && !line.is_uncertain);
}
