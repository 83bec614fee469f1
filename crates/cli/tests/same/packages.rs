//! Package managers, fed from what lies in the workspace: no registry is asked.

use crate::tree::{Known, What};
use crate::workload::Workload;

const NPM: &str = r#"
mkdir -p made
for p in 1 2 3 4 5 6; do mkdir -p made/package/lib
    printf '{"name":"p%s","version":"1.0.%s","main":"lib/f1.js","bin":{"run-p%s":"bin.js"}}' $p $p $p >made/package/package.json
    printf '#!/usr/bin/env node\nconsole.log("bin %s")\n' $p >made/package/bin.js
    for f in 1 2 3 4 5 6 7 8; do echo "module.exports = 'p$p f$f'" >made/package/lib/f$f.js; done
    tar -C made -czf p$p.tgz --mtime=2020-01-01 package; rm -rf made/package; done; rmdir made
printf '{"name":"t","version":"1.0.0","private":true,"scripts":{"postinstall":"echo post >>post.log","test":"node test.js"},"dependencies":{"p1":"file:p1.tgz","p2":"file:p2.tgz","p3":"file:p3.tgz","p4":"file:p4.tgz","p5":"file:p5.tgz"},"devDependencies":{"p6":"file:p6.tgz"}}' >package.json
echo 'console.log(require("p1"), require("p6/lib/f3.js"))' >test.js
npm install --package-lock-only --offline --no-audit --no-fund --loglevel=error"#;

const PIP: &str = r#"
mkdir -p wheels sdist/mod
/usr/bin/python3 - <<'END'
import base64, hashlib, zipfile
for n in (1, 2, 3):
    name = f"pack{n}"
    files = {f"{name}/__init__.py": f"def hello():\n    return 'hello {n}'\n", f"{name}/data.txt": "data " * 100,
             f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n" + ("Requires-Dist: pack1\n" if n > 1 else ""),
             f"{name}-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
             f"{name}-1.0.dist-info/entry_points.txt": f"[console_scripts]\nrun-{name} = {name}:hello\n"}
    record = "".join(f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}\n" for path, text in files.items())
    files[f"{name}-1.0.dist-info/RECORD"] = record + f"{name}-1.0.dist-info/RECORD,,\n"
    with zipfile.ZipFile(f"wheels/{name}-1.0-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), text)
END
printf 'from setuptools import setup\nsetup(name="fromsource", version="2.0", packages=["mod"])\n' >sdist/setup.py; echo 'WORD = "from source"' >sdist/mod/__init__.py"#;

pub fn workloads() -> Vec<Workload> {
    vec![
        Workload {
            name: "npm_ci_run_uninstall",
            programs: &["npm", "node"],
            prepare: NPM,
            run: "npm() { command npm \"$@\" | sed 's/ in [0-9.ms]*$//'; }
                npm ci --offline --no-audit --no-fund --loglevel=error; npm test --silent; npx --offline --no-install run-p2; npm ls --all | tail -n +2; npm uninstall --offline --no-audit --no-fund --loglevel=error p5
                test ! -e node_modules/p5; rm -rf node_modules; npm ci --offline --omit=dev --no-audit --no-fund --loglevel=error; npm pack --silent",
            known: &[Known { at: "t-1.0.0.tgz", what: What::Content, why: "an archive of what npm chose to put in, in any order" }],
            ..Workload::default()
        },
        Workload {
            name: "pip_install_into_a_venv",
            is_long: true,
            programs: &["/usr/bin/python3"],
            needs: |_| {
                let found = std::path::Path::new("/usr/lib/python3.11/ensurepip").exists()
                    || std::process::Command::new("/usr/bin/python3").args(["-c", "import ensurepip"]).output().is_ok_and(|o| o.status.success());
                (!found).then(|| "`python3-venv` is not installed".to_owned())
            },
            prepare: PIP,
            rules: &[(
                "    // What nobody can read, and what comes from elsewhere",
                "    [\"pack2\", \"pack3\"].contains(resource.name) ||\n    // What nobody can read, and what comes from elsewhere",
            )],
            run: "export PYTHONDONTWRITEBYTECODE=1 PIP_NO_COMPILE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INDEX=1
                /usr/bin/python3 -m venv venv; . venv/bin/activate; pip install -q --find-links wheels pack2 pack3; run-pack2 || true; python -c 'import pack1; print(pack1.hello())'
                pip install -q --no-build-isolation --no-use-pep517 ./sdist 2>/dev/null || pip install -q --no-build-isolation ./sdist; python -c 'import mod; print(mod.WORD)'; pip list | tail -n +3 | sort
                pip uninstall -q -y pack3; pip check; pip freeze | sed s:file.*/work/:: | sort; pip download -q --find-links wheels -d got pack2; ls got",
            known: &[
                Known { at: "venv/**/__pycache__/**", what: What::Existence, why: "compiled files hold times" },
                Known { at: "venv/**/__pycache__", what: What::Existence, why: "compiled files hold times" },
            ],
            ..Workload::default()
        },
    ]
}
