//! Programs that do unusual things with files.

use crate::tree::{Known, What};
use crate::workload::Workload;

const TOUCHED: &str = "docs/compatibility.md: another time alone is no change that `apply` takes";

const PIPE: Known = Known {
    at: "**/fifo",
    what: What::Existence,
    why: "docs/compatibility.md: `apply` takes files, directories and links, no named pipes",
};

pub fn workloads() -> Vec<Workload> {
    vec![
        Workload {
            name: "coreutils_every_kind_of_change",
            prepare: "mkdir -p d/e gone/deep; echo a >a; echo b >b; echo c >d/c; ln -s a sym; echo g >gone/deep/g
                chmod 600 b; touch -d '2020-01-01 00:00:00.123456789' a b d/c; touch -d '2020-02-02' d d/e; mkfifo pipe; truncate -s 1M hole; echo x >shared",
            run: "umask 027; echo 1 >made; mkdir dir; umask 000; echo 2 >open; mkdir open-dir; umask 022
                cp -a a copied; cp -p b d/b; mv b moved; mv gone kept; rm -r kept/deep; ln moved second; ln a third; ln shared d/shared; ln -s ../a d/up; ln sym sym-link
                chmod 4711 made; chmod 1777 open-dir; chmod u+w,g=r d/c; touch -d '2021-03-04 05:06:07.000000008' made; touch -h -d 2019-01-01 sym; touch -d 2018-01-01 d/e
                mkfifo fifo; echo through >pipe & cat pipe; wait
                truncate -s 3 a; truncate -s 2M sparse; dd if=/dev/zero of=sparse bs=4k count=1 seek=100 conv=notrunc status=none; dd if=hole of=hole2 conv=sparse bs=64k status=none
                fallocate -l 100000 full; fallocate -p -o 4096 -l 40960 full; cp --sparse=always hole hole3; cp --reflink=auto a reflinked
                echo appended >>d/shared; cat shared; install -m 640 a d/installed; mktemp -p d >/dev/null; rm d/tmp.*
                mv -n a d/c; mv -T moved d/c; rmdir dir; mkdir dir; echo again >dir/f; mv dir dir2; mv dir2 dir
                stat -c '%n %F %a %h %s' a third d/c second sym shared d/shared; find . -path ./.flyball -prune -o -type f -links +1 -print | sort; wc -c sparse hole full
                test -w a && test ! -e gone; df . >/dev/null; sync; sync -f a; realpath d/up | sed \"s:$PWD::\"; readlink sym",
            known: &[Known { at: "pipe", what: What::Time, why: "docs/compatibility.md: what goes through a pipe leaves no trace" }],
            not_applied: &[
                PIPE,
                Known { at: "{sym,sym-link,d/e}", what: What::Time, why: TOUCHED },
                Known { at: "made", what: What::Mode, why: "docs/compatibility.md: set-id bits of the session's making stay behind" },
            ],
            ..Workload::default()
        },
        Workload {
            name: "tar_zip_with_links_holes_xattrs_modes",
            programs: &["tar", "zip", "unzip", "setfattr"],
            prepare: "mkdir -p in/sub in/empty; echo a >in/a; ln in/a in/sub/hard; ln -s ../a in/sub/soft; ln -s nowhere in/dangling; truncate -s 300k in/hole; echo end >>in/hole
                echo s >in/script; chmod 755 in/script; chmod 640 in/sub/hard; mkfifo in/fifo; setfattr -n user.note -v kept in/script; setfattr -n user.on -v dir in/sub; chmod 2750 in/empty
                printf '%s' \"$(printf 'odd\\nname \\303\\244 \\377')\" >/dev/null; echo o >\"in/$(printf 'odd \\303\\244')\"; find in -exec touch -h -d '2017-05-06 07:08:09' {} +",
            run: "tar --xattrs --sparse --sort=name -cf all.tar in; mkdir out; tar --xattrs -xpf all.tar -C out; tar -tvf all.tar | wc -l
                tar -czf all.tgz in; mkdir out2; tar -xzf all.tgz -C out2; tar --xattrs -df all.tar; gzip -dc all.tgz | tar -tf - | sort | head -30
                zip -qryX all.zip in -x in/fifo; mkdir out3; unzip -qq all.zip -d out3; unzip -l all.zip | tail -1
                tar -cf - in | (mkdir out4; cd out4; tar -xf -); tar -xf all.tar -C out --overwrite; tar -xf all.tar -C out4 --recursive-unlink; getfattr -d out/in/script; setfattr -x user.note out/in/script
                setfattr -n user.new -v '\\x00bytes' in/script; echo >>in/script; setfattr -n user.more -v 1 in; echo >in/more; cp -a in cp; cp -al out/in linked; rm all.tgz all.zip",
            not_applied: &[PIPE],
            known: &[Known { at: "all.tar", what: What::Bytes, why: "an archive of pax headers holds access and change times" }],
            ..Workload::default()
        },
        Workload {
            name: "sed_perl_dd_save_in_place",
            programs: &["perl"],
            prepare: "for f in 1 2 3 4 5 6; do seq 1 50 >f$f; chmod 64$f f$f; touch -d 2020-01-01 f$f; done; ln f1 f1-link; ln -s f2 f2-link",
            run: "sed -i s/1/one/ f1; sed -i.bak s/2/two/ f2; sed -i --follow-symlinks s/3/three/ f2-link; perl -pi -e s/4/four/ f3; perl -pi.orig -e s/5/five/ f4
                cp f5 f5~; echo changed >f5; cat f6 >f6.tmp; mv f6.tmp f6; ln -f f5 f5-link; echo again >f5.new; mv -f f5.new f5
                perl -e 'use Fcntl; sysopen(my $f, q(f6), O_RDWR) or die; flock($f, 2) or die; seek($f, 10, 0); print $f q(XX); truncate($f, 100); close $f; rename q(f6), q(g6); open($f, q(>), q(f6)); print $f q(new)'
                cat f1 f1-link f2 f2-link f3 f4 f5 f5-link f6 g6",
            known: &[Known {
                at: "f1-link",
                what: What::Links,
                why: "docs/compatibility.md: names that were one file before the session part when one is written",
            }],
            ..Workload::default()
        },
        Workload {
            name: "rg_searches",
            programs: &["rg"],
            prepare: "for d in 1 2 3 4 5 6 7 8 9; do mkdir -p t/d$d; for f in 1 2 3 4 5 6; do seq $f $d 400 >t/d$d/f$f.txt; done; done; echo 't/d3' >.ignore; printf 'needle\\0' >t/bin",
            run: "rg --sort path -c 39 t; rg --sort path -n '^4.0$' t | tail -5; rg -uu --sort path -l needle .; rg --files --sort path | wc -l; rg -q nothing-there && exit 8 || true; rg --sort path --stats -j2 40 t | grep matches",
            ..Workload::default()
        },
        Workload {
            name: "sqlite_wal_several_processes",
            programs: &["sqlite3"],
            prepare: "sqlite3 old.db 'create table t(a); insert into t values (1),(2)'",
            run: "sqlite3 new.db 'pragma journal_mode=wal; create table t(who, n)'
                for who in 1 2 3 4; do (for n in 1 2 3 4 5 6 7 8 9 10 11 12; do sqlite3 -cmd '.timeout 60000' new.db \"insert into t values ($who, $n)\"; done) & done; wait
                sqlite3 new.db 'select who, count(*), sum(n) from t group by who; pragma integrity_check'
                sqlite3 old.db 'pragma journal_mode=wal; begin; insert into t values (3); commit; pragma wal_checkpoint(truncate); pragma journal_mode=delete; vacuum; select * from t'
                sqlite3 new.db .dump | sort | tail -n +1 >dump.sql; sqlite3 copy.db <dump.sql || true; sqlite3 new.db \".backup back.db\"; sqlite3 back.db 'select count(*) from t'
                sqlite3 new.db 'pragma journal_mode=delete'; rm -f copy.db",
            known: &[
                Known { at: "{new,back}.db", what: What::Content, why: "which of four writers comes first is chance" },
                Known { at: "dump.sql", what: What::Content, why: "as the database" },
            ],
            ..Workload::default()
        },
    ]
}
