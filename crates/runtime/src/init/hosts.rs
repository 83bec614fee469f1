//! Where this user's own tools fetch packages and reach models: read from their configuration and from the tools as they
//! are installed, so that no host has to stand in Flyball. A repository's own configuration does not count: whoever wrote
//! it could open the network with it.

use super::{Ecosystem, text};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A host and a port.
pub(super) type Place = (String, u16);

/// Folders of installed tools and registries that are looked into, at most.
const FOLDERS_MAX: usize = 256;

/// What the user's configuration is read from.
pub(super) struct User<'a> {
    pub home: &'a Path,
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

impl User<'_> {
    /// Where the tools of these ecosystems fetch packages, as far as their configuration says.
    pub fn registries(&self, ecosystems: &BTreeSet<Ecosystem>) -> BTreeSet<Place> {
        let mut found = BTreeSet::new();
        for ecosystem in ecosystems {
            match ecosystem {
                Ecosystem::Rust => self.cargo(&mut found),
                Ecosystem::Node => self.node(&mut found),
                Ecosystem::Python => self.python(&mut found),
                Ecosystem::Go => self.go(&mut found),
                Ecosystem::Ruby => self.files(&mut found, &[".gemrc", ".bundle/config"]),
                Ecosystem::Java => {
                    self.files(&mut found, &[".m2/settings.xml", ".gradle/init.gradle", ".gradle/gradle.properties"])
                }
            }
        }
        found
    }

    /// Where the environment says that models are.
    pub fn models(&self, variables: &[&str]) -> BTreeSet<Place> {
        variables.iter().filter_map(|name| (self.variable)(name)).flat_map(|value| places(&value)).collect()
    }

    fn files(&self, found: &mut BTreeSet<Place>, names: &[&str]) {
        found.extend(names.iter().filter_map(|n| text(&self.home.join(n))).flat_map(|t| places(&t)));
    }

    fn variables(&self, found: &mut BTreeSet<Place>, names: &[&str]) {
        found.extend(self.models(names));
    }

    fn cargo(&self, found: &mut BTreeSet<Place>) {
        let home = (self.variable)("CARGO_HOME").map_or_else(|| self.home.join(".cargo"), PathBuf::from);
        found.extend(["config.toml", "config"].iter().filter_map(|n| text(&home.join(n))).flat_map(|t| places(&t)));
        // Registries that cargo has fetched from: a folder `HOST-HASH` each, which may name where downloads are.
        for folder in folders(&home.join("registry/index")) {
            let name = folder.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if let Some((host, _)) = name.rsplit_once('-').filter(|(host, _)| host.contains('.') && is_host(host)) {
                found.insert((host.to_ascii_lowercase(), 443));
            }
            found.extend(
                ["config.json", ".cache/config.json"]
                    .iter()
                    .filter_map(|n| text(&folder.join(n)))
                    .flat_map(|t| places(&t)),
            );
            found.extend(downloads(&folder));
        }
    }

    fn node(&self, found: &mut BTreeSet<Place>) {
        self.files(found, &[".npmrc", ".yarnrc", ".yarnrc.yml", ".config/pnpm/rc"]);
        found.extend(text(Path::new("/etc/npmrc")).iter().flat_map(|t| places(t)));
        self.variables(found, &["npm_config_registry", "NPM_CONFIG_REGISTRY", "YARN_NPM_REGISTRY_SERVER"]);
        if !found.is_empty() {
            return;
        }
        // Nothing is set: what the installed npm takes then.
        if let Some(npm) = self.installed("npm").and_then(|p| Some(p.parent()?.parent()?.to_path_buf())) {
            let definitions = npm.join("node_modules/@npmcli/config/lib/definitions/definitions.js");
            let lines = text(&definitions).unwrap_or_default();
            let defaults = lines.lines().filter(|l| l.contains("default:") && l.contains("registry"));
            found.extend(defaults.flat_map(places));
        }
    }

    fn python(&self, found: &mut BTreeSet<Place>) {
        self.files(
            found,
            &[".config/pip/pip.conf", ".pip/pip.conf", ".config/uv/uv.toml", ".config/pypoetry/config.toml"],
        );
        found.extend(text(Path::new("/etc/pip.conf")).iter().flat_map(|t| places(t)));
        self.variables(
            found,
            &["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL"],
        );
        if !found.is_empty() {
            return;
        }
        // Nothing is set: what the installed pip takes then.
        for lib in ["/usr/lib", "/usr/local/lib"]
            .iter()
            .flat_map(|lib| folders(Path::new(lib)))
            .chain(folders(&self.home.join(".local/lib")))
        {
            for packages in ["dist-packages", "site-packages"] {
                let index = text(&lib.join(packages).join("pip/_internal/models/index.py")).unwrap_or_default();
                for line in index.lines().filter(|l| l.starts_with("PyPI ") || l.contains("file_storage_domain=\"")) {
                    found.extend(places(line));
                    let domain = line.split("file_storage_domain=\"").nth(1).and_then(|rest| rest.split('"').next());
                    found.extend(domain.filter(|d| is_host(d)).map(|d| (d.to_ascii_lowercase(), 443)));
                }
            }
        }
    }

    fn go(&self, found: &mut BTreeSet<Place>) {
        let mut settings =
            self.installed("go").and_then(|p| text(&p.parent()?.parent()?.join("go.env"))).unwrap_or_default();
        settings.push_str(&text(&self.home.join(".config/go/env")).unwrap_or_default());
        for name in ["GOPROXY", "GOSUMDB"] {
            settings.push_str(&format!("\n{name}={}\n", (self.variable)(name).unwrap_or_default()));
        }
        for line in settings.lines() {
            found.extend(places(line));
            if let Some(host) = line.strip_prefix("GOSUMDB=").map(str::trim).filter(|h| h.contains('.') && is_host(h)) {
                found.insert((host.to_ascii_lowercase(), 443));
            }
        }
    }

    /// The file behind a program's name.
    fn installed(&self, name: &str) -> Option<PathBuf> {
        let path = (self.variable)("PATH")?;
        let file =
            path.split(':').filter(|d| d.starts_with('/')).map(|d| Path::new(d).join(name)).find(|p| p.is_file())?;
        fs::canonicalize(file).ok()
    }
}

/// Where a sparse index says that its packages are: the first lines of its cached `config.json`.
fn downloads(index: &Path) -> Vec<Place> {
    let cached = index.join(".cache/config.json");
    fs::read(cached).map(|bytes| places(&String::from_utf8_lossy(&bytes))).unwrap_or_default()
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(dir) else { return Vec::new() };
    let mut all: Vec<PathBuf> =
        listing.take(FOLDERS_MAX).filter_map(|e| Some(e.ok()?.path())).filter(|p| p.is_dir()).collect();
    all.sort();
    all
}

/// The hosts of every URL in a text, comments left out.
fn places(text: &str) -> Vec<Place> {
    let lines = text.lines().filter(|l| !l.trim_start().starts_with(['#', ';']));
    lines.flat_map(|line| line.match_indices("://").filter_map(move |(at, _)| place(line, at))).collect()
}

fn place(line: &str, at: usize) -> Option<Place> {
    let before = line.get(..at)?;
    let standard = if before.ends_with("https") {
        443
    } else if before.ends_with("http") {
        80
    } else {
        return None;
    };
    let rest = line.get(at + 3..)?;
    let authority = rest.split(|c: char| "/?#,|<>".contains(c) || c.is_whitespace() || c == '"' || c == '\'').next()?;
    let place = authority.rsplit('@').next()?;
    let (host, port) = place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port)));
    let port = port.map_or(Some(standard), |p| p.parse().ok())?;
    (is_host(host)).then(|| (host.to_ascii_lowercase(), port))
}

/// Letters that end no string and match no pattern in a rule.
fn is_host(host: &str) -> bool {
    !host.is_empty() && host.len() <= 253 && host.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn found(home: &Path, variables: &[(&str, &str)], of: Ecosystem) -> Vec<String> {
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        let user = User { home, variable: &variable };
        user.registries(&BTreeSet::from([of])).into_iter().map(|(host, port)| format!("{host}:{port}")).collect()
    }

    fn home(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let at = dir.path().join(name);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(at, content).unwrap();
        }
        dir
    }

    #[test]
    fn the_users_tools_say_where_they_fetch() {
        let dir = home(&[
            (
                ".npmrc",
                "# https://no.example\nregistry=https://npm.corp.example:8443/x/\n//npm.corp.example/:_authToken=abc\n",
            ),
            (".cargo/config.toml", "[source.m]\nregistry = \"sparse+https://u:p@crates.corp.example/index/\"\n"),
            (
                ".cargo/registry/index/index.example.org-0123abcd/config.json",
                "{\"dl\":\"https://dl.example.org/crates\"}",
            ),
            (
                ".config/pip/pip.conf",
                "[global]\nindex-url = http://pypi.corp.example/simple\n; extra = https://no.example\n",
            ),
        ]);
        assert_eq!(found(dir.path(), &[], Ecosystem::Node), ["npm.corp.example:8443"]);
        assert_eq!(
            found(dir.path(), &[], Ecosystem::Rust),
            ["crates.corp.example:443", "dl.example.org:443", "index.example.org:443"]
        );
        assert_eq!(found(dir.path(), &[], Ecosystem::Python), ["pypi.corp.example:80"]);
        let go = [("GOPROXY", "https://a.example|https://b.example,direct"), ("GOSUMDB", "sum.example")];
        assert_eq!(found(dir.path(), &go, Ecosystem::Go), ["a.example:443", "b.example:443", "sum.example:443"]);
    }

    #[test]
    fn installed_tools_say_what_they_take_by_default() {
        let dir = home(&[
            ("lib/npm/bin/npm", ""),
            (
                "lib/npm/node_modules/@npmcli/config/lib/definitions/definitions.js",
                "define('registry', {\n  default: 'https://registry.example/',\n})\n// see https://docs.example\n",
            ),
            ("go/bin/go", ""),
            ("go/go.env", "GOPROXY=https://proxy.example,direct\nGOSUMDB=sum.example\n"),
        ]);
        let npm = dir.path().join("lib/npm/bin");
        assert_eq!(found(dir.path(), &[("PATH", npm.to_str().unwrap())], Ecosystem::Node), ["registry.example:443"]);
        let go = dir.path().join("go/bin");
        assert_eq!(
            found(dir.path(), &[("PATH", go.to_str().unwrap())], Ecosystem::Go),
            ["proxy.example:443", "sum.example:443"]
        );
    }

    #[test]
    fn what_is_no_host_is_none() {
        for text in
            ["https://", "https://a\"] || true", "ftp://x.example", "https://[::1]/", "https://h:99999/", "file:///x"]
        {
            let all = places(text);
            assert!(all.iter().all(|(host, _)| host == "a"), "{text}: {all:?}");
        }
        assert_eq!(places("x http://127.0.0.1:8080/v1"), [("127.0.0.1".to_owned(), 8080)]);
    }
}
