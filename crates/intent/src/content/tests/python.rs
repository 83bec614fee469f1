use super::super::registries::{PYPI, PYPI_FILES};
use super::{added, check};

#[test]
fn requirements() {
    for path in [
        "/w/requirements.txt",
        "/w/requirements-dev.txt",
        "/w/dev-requirements.in",
        "/w/requirements/base.txt",
        "/w/constraints.txt",
    ] {
        added(path, "Django_REST>=3 # why\n", &["django-rest >=3"]);
    }
    added(
        "/w/requirements.txt",
        "# a comment \\\nRequests [security] == 2.0 ; python_version < '3'\nb==1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n\
         c @ https://h/c.whl#sha256=f00\n-r requirements-dev.txt\n-r other.list\n-e ./here\n-e git+https://h/e#egg=e\n--extra-index-url https://i/simple\n\
         git+https://h/f.git\n./local.whl\n${HIDDEN}\nzope.interface\r\n",
        &[
            " <${HIDDEN}> opaque",
            " <./local.whl> opaque",
            " <git+https://h/e#egg=e> opaque",
            " <git+https://h/f.git> opaque",
            " <https://i/simple> opaque",
            " <other.list> opaque",
            "b 1.0",
            "c <https://h/c.whl#sha256=f00>",
            "requests 2.0",
            "zope-interface",
        ],
    );
    check(
        "/w/requirements.txt",
        "b==1 --hash=sha256:aa\n",
        "b==1 --hash=sha256:ab\n",
        &["dependency.change pypi/b/1 from=\"1\""],
    );
    check("/w/requirements.txt", "Foo_Bar==1\n", "foo-bar==1\n", &[]);
}

#[test]
fn pyproject() {
    added(
        "/w/pyproject.toml",
        "[build-system]\nrequires = ['hatchling']\n[project]\nname = 'x'\ndependencies = ['Google.Cloud_Storage>=2', 'e[x] @ https://h/e']\n\
         [project.optional-dependencies]\ncli = ['click==8.1']\n[dependency-groups]\ndev = ['pytest', {include-group = 'lint'}]\n\
         [tool.uv]\ndev-dependencies = ['ruff']\n[tool.uv.sources]\nclick = { git = 'https://h/click' }\n[[tool.uv.index]]\nurl = 'https://i/simple'\n",
        &[
            " <https://i/simple> opaque",
            "click 8.1 <https://h/click>",
            "e <https://h/e>",
            "google-cloud-storage >=2",
            "hatchling dev",
            "pytest dev",
            "ruff dev",
        ],
    );
    added(
        "/w/pyproject.toml",
        "[tool.poetry.dependencies]\npython = '^3.9'\na = '^1'\nb = { git = 'https://h/b', rev = 'f00' }\nc = [{version = '1', python = '<3'}, {version = '2'}]\n\
         [tool.poetry.group.dev.dependencies]\nd = '*'\n[tool.poetry.group.docs.dependencies.s]\nversion = '1'\n",
        &["a ^1", "b f00 <https://h/b>", "c 1", "c 2", "d dev", "s 1 dev"],
    );
    check("/w/pyproject.toml", "", "[project]\ndynamic = ['dependencies']\n", &["dependency.change pypi opaque=true"]);
    check("/w/setup.py", "a", "b", &["dependency.change pypi opaque=true"]);
    added(
        "/w/setup.cfg",
        "[options]\ninstall_requires =\n    a>=1 ; python_version>'3'\n    b\n[options.extras_require]\nx = c\n[flake8]\ninstall_requires = no\n",
        &["a >=1", "b", "c"],
    );
    added(
        "/w/Pipfile",
        "[[source]]\nurl = 'https://i/simple'\n[packages]\na = '==1'\n[dev-packages]\nb = {version = '*', index = 'i'}\n",
        &[" <https://i/simple> opaque", "a 1", "b <i> dev"],
    );
}

#[test]
fn locks() {
    let uv = format!(
        "version = 1\n[[package]]\nname = 'own'\nversion = '0'\nsource = {{ virtual = '.' }}\n[[package]]\nname = 'a'\nversion = '1.0'\n\
         source = {{ registry = '{PYPI}' }}\nsdist = {{ url = '{PYPI_FILES}a.tar.gz', hash = 'sha256:aa' }}\nwheels = [\n  {{ url = '{PYPI_FILES}a.whl', hash = 'sha256:bb' }},\n]\n\
         [[package]]\nname = 'b'\nversion = '1.0'\nsource = {{ registry = '{PYPI}' }}\nwheels = [{{ url = 'https://evil/b.whl' }}]\n\
         [[package]]\nname = 'g'\nversion = '1.0'\nsource = {{ git = 'https://h/g?rev=x#f00' }}\n"
    );
    added("/w/uv.lock", &uv, &["a 1.0", "b 1.0 <https://evil/b.whl>", "g 1.0 <https://h/g?rev=x#f00>"]);
    check("/w/uv.lock", &uv, &uv.replace("sha256:bb", "sha256:bc"), &["dependency.change pypi/a/1.0 from=\"1.0\""]);
    added(
        "/w/poetry.lock",
        "[[package]]\nname = \"A_b\"\nversion = \"1.0\"\ngroups = [\"main\", \"dev\"]\nfiles = [\n    {file = \"a.whl\", hash = \"sha256:aa\"},\n]\n[package.dependencies]\nc = \">=1\"\n\
         [[package]]\nname = \"d\"\nversion = \"2\"\ngroups = [\"dev\"]\n[package.source]\ntype = \"git\"\nurl = \"https://h/d\"\nreference = \"x\"\nresolved_reference = \"f00\"\n[metadata]\nlock-version = \"2.1\"\n",
        &["a-b 1.0", "d 2 <https://h/d> dev"],
    );
    added(
        "/w/Pipfile.lock",
        r#"{"_meta": {"sources": [{"url": "https://i/simple"}]}, "default": {"a": {"version": "==1.0", "hashes": ["sha256:aa"]}}, "develop": {"b": {"version": "==2"}}}"#,
        &[" <https://i/simple> opaque", "a 1.0", "b 2 dev"],
    );
    added(
        "/w/pylock.toml",
        "[[packages]]\nname = 'a'\nversion = '1'\nwheels = [{hashes = {sha256 = 'aa'}}]\n",
        &["a 1"],
    );
}

#[test]
fn a_script_names_what_it_needs() {
    let script = "import os\n# /// script\n# requires-python = '>=3'\n# dependencies = [\n#   'Rich',\n# ]\n# ///\n";
    let is = super::said("/w/a.py", Some(""), Some(script));
    assert!(is.contains("dependency.add pypi/rich dev=false"), "{is}");
}
