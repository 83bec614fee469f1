//! Programs of several processes that talk to each other.

use crate::tree::{Known, What};
use crate::workload::Workload;

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
