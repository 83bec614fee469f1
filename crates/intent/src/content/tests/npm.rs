use super::super::registries::{NPM, YARN};
use super::{added, check};

#[test]
fn package_json() {
    added(
        "/w/package.json",
        r#"{"name": "x", "dependencies": {"a": "^1", "@s/b": "npm:real@2", "g": "user/repo", "w": "workspace:*", "t": "latest"},
            "devDependencies": {"d": "1"}, "peerDependencies": {"p": ">=1"}, "optionalDependencies": {"o": "1"},
            "overrides": {"x@^1": {".": "2", "y": "3"}}, "resolutions": {"**/z": "4", "a/@s/q": "5"}, "scripts": {"postinstall": "x"}}"#,
        &[
            "@s/q 5",
            "a ^1",
            "d 1 dev",
            "g <user/repo>",
            "o 1",
            "p >=1",
            "real 2",
            "t latest",
            "w <workspace:*>",
            "x 2",
            "y 3",
            "z 4",
        ],
    );
    // What others need for their own development isn't installed with them.
    added("/w/node_modules/m/package.json", r#"{"dependencies": {"a": "1"}, "devDependencies": {"d": "1"}}"#, &["a 1"]);
    check(
        "/w/package.json",
        r#"{"dependencies": {"a": "1"}}"#,
        r#"{"dependencies": {"a": "2"}}"#,
        &["dependency.change npm/a/2 from=\"1\""],
    );
    check(
        "/w/package.json",
        r#"{"devDependencies": {"a": "1"}}"#,
        r#"{"dependencies": {"a": "1"}}"#,
        &["dependency.add npm/a/1 dev=false"],
    );
}

#[test]
fn package_lock() {
    let own = format!("{NPM}a/-/a-1.0.0.tgz");
    let scoped = format!("{NPM}@s%2fb/-/b-2.0.0.tgz");
    let other = format!("{NPM}evil/-/evil-1.0.0.tgz");
    let lock = format!(
        r#"{{"lockfileVersion": 3, "packages": {{
            "": {{"dependencies": {{"a": "^1"}}}}, "packages/own": {{"version": "0.1.0"}},
            "node_modules/own": {{"resolved": "packages/own", "link": true}},
            "node_modules/a": {{"version": "1.0.0", "resolved": "{own}", "integrity": "sha512-a", "dependencies": {{"c": "1"}}}},
            "node_modules/a/node_modules/@s/b": {{"version": "2.0.0", "resolved": "{scoped}", "dev": true}},
            "node_modules/alias": {{"name": "real", "version": "3.0.0"}},
            "node_modules/lodash": {{"version": "4.0.0", "resolved": "{other}"}},
            "node_modules/g": {{"version": "1.0.0", "resolved": "git+ssh://git@h/g.git#f00"}}}}}}"#
    );
    let expect = [
        "@s/b 2.0.0 dev",
        "a 1.0.0",
        "g 1.0.0 <git+ssh://git@h/g.git#f00>",
        &format!("lodash 4.0.0 <{other}>"),
        "real 3.0.0",
    ];
    added("/w/package-lock.json", &lock, &expect);
    check(
        "/w/package-lock.json",
        &lock,
        &lock.replace("sha512-a", "sha512-b"),
        &["dependency.change npm/a/1.0.0 from=\"1.0.0\""],
    );
    let old_form = format!(
        r#"{{"lockfileVersion": 1, "dependencies": {{"a": {{"version": "1.0.0", "resolved": "{own}", "requires": {{"c": "^1"}},
            "dependencies": {{"c": {{"version": "1.1.0", "dev": true}}}}}}, "n": {{"version": "npm:real@2.0.0"}},
            "g": {{"version": "git+https://h/g.git#f00"}}}}}}"#
    );
    added("/w/package-lock.json", &old_form, &["a 1.0.0", "c 1.1.0 dev", "g <git+https://h/g.git#f00>", "real 2.0.0"]);
}

#[test]
fn yarn_lock() {
    let classic = format!(
        "# yarn lockfile v1\r\n\r\n\"@s/b@^1\", \"@s/b@^1.2\":\r\n  version \"1.2.3\"\r\n  resolved \"{YARN}@s/b/-/b-1.2.3.tgz#f00\"\r\n  \
         integrity sha512-x\r\n  dependencies:\r\n    \"@s/c\" \"^7\"\r\n    d \"1\"\r\n\r\na@npm:real@1:\r\n  version \"1.0.0\"\r\n"
    );
    let lines: Vec<&str> = classic.split("\r\n").collect();
    added("/w/yarn.lock", &classic, &["@s/b 1.2.3", "real 1.0.0"]);
    added("/w/yarn.lock", &lines.join("\n"), &["@s/b 1.2.3", "real 1.0.0"]);
    check("/w/yarn.lock", "", "<<<<<< HEAD\na@1:\n  version \"1\"\n", &["dependency.change npm opaque=true"]);
    added(
        "/w/yarn.lock",
        "__metadata:\n  version: 8\n\n\"a@npm:^1, a@npm:^1.0.1\":\n  version: 1.0.1\n  resolution: \"a@npm:1.0.1\"\n  checksum: 10c0/f00\n\n\
         \"own@workspace:.\":\n  version: 0.0.0-use.local\n  resolution: \"own@workspace:.\"\n\n\"@s/b@https://h/b.tgz\":\n  version: 1.0.0\n  \
         resolution: \"@s/b@https://h/b.tgz\"\n",
        &["@s/b <https://h/b.tgz>", "a 1.0.1"],
    );
}

#[test]
fn pnpm_lock() {
    added(
        "/w/pnpm-lock.yaml",
        "lockfileVersion: '9.0'\n\nimporters:\n  .:\n    dependencies:\n      a: {specifier: ^1, version: 1.0.0}\n\npackages:\n\n  '@s/b@2.0.0':\n    \
         resolution: {integrity: sha512-x}\n\n  a@1.0.0:\n    resolution: {integrity: sha512-y}\n\n  g@https://h/g.tgz:\n    \
         resolution: {tarball: https://h/g.tgz}\n    version: 1.0.0\n\nsnapshots:\n\n  a@1.0.0(p@1): {}\n",
        &["@s/b 2.0.0", "a 1.0.0", "g <https://h/g.tgz>"],
    );
    added(
        "/w/pnpm-lock.yaml",
        "lockfileVersion: '6.0'\npackages:\n  /@s/b@2.0.0(p@1.0.0):\n    dev: true\n  /a@1.0.0: {}\n",
        &["@s/b 2.0.0 dev", "a 1.0.0"],
    );
    added(
        "/w/pnpm-lock.yaml",
        "lockfileVersion: 5.4\npackages:\n  /@s/b/2.0.0_p@1:\n    dev: true\n  /a/1.0.0: {}\n",
        &["@s/b 2.0.0 dev", "a 1.0.0"],
    );
    // Other ways to write the same are read as well, or refused.
    added("/w/pnpm-lock.yaml", "{lockfileVersion: '9.0', packages: {evil@1.0.0: {}}}", &["evil 1.0.0"]);
    for odd in [
        "a: &x {b: 1}\npackages: *x\n",
        "packages:\n  <<: {evil@1: {}}\n",
        "packages: !!map {evil@1: {}}\n",
        "packages: [\n",
    ] {
        check("/w/pnpm-lock.yaml", "", odd, &["dependency.change npm opaque=true"]);
    }
    added("/w/pnpm-workspace.yaml", "catalog:\n  a: ^1\noverrides:\n  'b>c@1': 2\n", &["a ^1", "c 2"]);
}
