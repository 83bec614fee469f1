//! Programs of several processes that talk to each other.

use crate::tree::{Known, What};
use crate::workload::Workload;

/// A page drawn by script, a page that asks its server for more by script and worker, and the server.
const CHROMIUM: &str = r#"
mkdir made
cat >page.html <<'END'
<!doctype html><html><body style="margin:0;background:#def"><h1 id=a>x</h1><canvas id=c width=200 height=100></canvas><script>
document.getElementById('a').textContent = 'six times seven is ' + 6 * 7;
const g = document.getElementById('c').getContext('2d');
for (let i = 0; i < 20; i++) { g.fillStyle = `rgb(${i * 12},80,${255 - i * 12})`; g.fillRect(i * 10, i * 5, 10, 10); }
</script></body></html>
END
cat >fetches.html <<'END'
<!doctype html><html><body><p id=f></p><p id=w></p><p id=s></p><script>
fetch('/page.html').then(r => r.text()).then(t => document.getElementById('f').textContent = 'fetched ' + t.length);
const w = new Worker('/worker.js'); w.onmessage = e => document.getElementById('w').textContent = 'worker ' + e.data; w.postMessage(1000);
localStorage.setItem('k', 'v'); document.getElementById('s').textContent = 'stored ' + localStorage.getItem('k');
</script></body></html>
END
echo 'onmessage = e => { let n = 0; for (let i = 0; i <= e.data; i++) n += i; postMessage(n); }' >worker.js
cat >serve.py <<'END'
import http.server
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *told): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
print(server.server_port)
server.serve_forever()
END"#;

pub fn workloads() -> Vec<Workload> {
    vec![
        Workload {
            name: "calls_one_after_the_other",
            programs: &["/usr/bin/python3", "bash"],
            prepare: concat!(
                "mkdir -p old/deep/er; for f in file kept linked mapped locked lock2 seen deep/f deep/er/g; do echo \"old $f\" >old/$f; done\n",
                "cat >calls.py <<'END_OF_FILE'\n",
                include_str!("calls.py"),
                "END_OF_FILE\n"
            ),
            run: "/usr/bin/python3 calls.py",
            not_applied: &[
                Known {
                    at: "calls/{ff,waited-for,dg,sock}",
                    what: What::Existence,
                    why: "docs/compatibility.md: pipes and sockets",
                },
                Known {
                    at: "calls/m0",
                    what: What::Existence,
                    why: "docs/compatibility.md: a file that its owner may not read",
                },
            ],
            known: &[Known {
                at: "calls/m0",
                what: What::Content,
                why: "docs/compatibility.md: root reads what is closed to its owner, and has no capability inside",
            }],
            ..Workload::default()
        },
        Workload {
            name: "python_multiprocessing",
            programs: &["/usr/bin/python3"],
            prepare: concat!("cat >processes.py <<'END_OF_FILE'\n", include_str!("processes.py"), "END_OF_FILE\n"),
            run: "/usr/bin/python3 -B processes.py",
            ..Workload::default()
        },
        Workload {
            name: "node_server_and_clients",
            programs: &["node"],
            prepare: concat!(
                "mkdir -p tree/b/c; echo a >tree/a; echo d >tree/b/c/d; touch -d 2020-01-01 tree/b/c/d\n",
                "cat >server.js <<'END_OF_FILE'\n",
                include_str!("server.js"),
                "END_OF_FILE\n"
            ),
            run: "node server.js",
            ..Workload::default()
        },
        Workload {
            name: "chromium_headless_pictures",
            is_long: true,
            programs: &["chromium", "/usr/bin/python3"],
            prepare: CHROMIUM,
            // The boundary is no place for the browser's own sandbox, which needs user namespaces. Without a word
            // about names it calls its maker, which the charter asks about.
            run: r#"
                browse() { timeout 300 chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --no-first-run --host-resolver-rules='MAP * ~NOTFOUND, EXCLUDE 127.0.0.1' --window-size=800,600 "$@" 2>>chromium.log; }
                browse --user-data-dir="$PWD/made/profile" --screenshot="$PWD/file.png" "file://$PWD/page.html"
                browse --user-data-dir="$PWD/made/profile" --dump-dom "file://$PWD/page.html"
                /usr/bin/python3 -u serve.py >port & served=$!
                while ! test -s port; do sleep 0.1; done
                browse --user-data-dir="$PWD/made/profile" --screenshot="$PWD/served.png" "http://127.0.0.1:$(cat port)/page.html"
                browse --user-data-dir="$PWD/made/profile2" --virtual-time-budget=20000 --dump-dom "http://127.0.0.1:$(cat port)/fetches.html"
                kill $served; rm -rf made/profile made/profile2 port; cmp file.png served.png; head -c 8 file.png | od -An -tx1"#,
            known: &[Known { at: "chromium.log", what: What::Content, why: "times and process ids" }],
            not_applied: &[Known {
                at: "made",
                what: What::Time,
                why: "docs/compatibility.md: what was made in it is gone again, and a time alone is no change",
            }],
            ..Workload::default()
        },
        Workload {
            name: "postgresql_in_the_workspace",
            is_long: true,
            programs: &["psql"],
            needs: |user| {
                let refused = user.is_root().then(|| "PostgreSQL refuses to run as root".to_owned());
                let is_here = std::path::Path::new("/usr/lib/postgresql").is_dir();
                refused.or_else(|| (!is_here).then(|| "Debian's `postgresql` is not installed".to_owned()))
            },
            run: r#"
                export PATH="$(ls -d /usr/lib/postgresql/*/bin | tail -1):$PATH"
                initdb -D data -A trust -U me --no-sync -E UTF8 --locale=C >initdb.log
                pg_ctl -D data -w -t 120 -l server.log -o "-p 54390 -h 127.0.0.1 -k $PWD" start >/dev/null
                export PGHOST=127.0.0.1 PGPORT=54390 PGUSER=me PGDATABASE=postgres
                psql -qAt -c 'create table t(n int primary key, s text); insert into t select n, repeat(chr(97 + n % 26), n) from generate_series(1, 500) n; select count(*), sum(length(s)) from t'
                psql -qAt -h "$PWD" -c "copy (select * from t where n < 20) to '$PWD/copied.csv' csv; select pg_size_pretty(0::bigint)"
                psql -qAt -c 'create index on t(s)' -c 'vacuum analyze t' -c 'set enable_seqscan = off; explain (costs off) select * from t where n = 3' -c 'listen c' -c 'notify c' >notify.log 2>&1; grep -c 'Index Scan' notify.log
                pgbench -q -i -s 1 >/dev/null 2>&1; pgbench -n -c 4 -j 2 -t 50 2>/dev/null | grep -c 'number of transactions actually processed: 200/200'
                pg_ctl -D data -m fast -w restart -l server.log >/dev/null; psql -qAt -c 'select count(*) from pgbench_history'
                pg_dump -t t | grep -v restrict >dump.sql; psql -qAt -c 'select no_such' 2>&1 | head -1
                pg_ctl -D data -m fast -w stop >/dev/null; pg_ctl -D data status || test $? = 3; cat data/PG_VERSION; wc -l <copied.csv"#,
            known: &[
                Known {
                    at: "data/**",
                    what: What::Existence,
                    why: "a cluster has a random identifier, and times in every page",
                },
                Known { at: "server.log", what: What::Content, why: "times and process ids" },
                Known { at: "notify.log", what: What::Content, why: "a process id" },
            ],
            ..Workload::default()
        },
    ]
}
