//! Storms of git: what it does to a tree with locks, renames, hard links, worktrees and packs.

use crate::tree::{Known, What};
use crate::workload::Workload;

/// Dates are given, so that commits have the same names; packs are made by one thread, so that they have too.
macro_rules! with_identity {
    ($script:literal) => {
        concat!(
            "export GIT_AUTHOR_NAME=n GIT_AUTHOR_EMAIL=n@example.test GIT_COMMITTER_NAME=n GIT_COMMITTER_EMAIL=n@example.test\n",
            "export GIT_AUTHOR_DATE='2024-01-02T03:04:05Z' GIT_COMMITTER_DATE='2024-01-02T03:04:05Z'\n",
            "export GIT_CONFIG_COUNT=3 GIT_CONFIG_KEY_0=pack.threads GIT_CONFIG_VALUE_0=1\n",
            "export GIT_CONFIG_KEY_1=gc.auto GIT_CONFIG_VALUE_1=0 GIT_CONFIG_KEY_2=protocol.file.allow GIT_CONFIG_VALUE_2=always\n",
            $script
        )
    };
}

const SOURCE: &str = with_identity!(
    "git init -q -b main source; cd source
    for d in 1 2 3 4 5 6; do mkdir -p src/d$d; for f in 1 2 3 4 5 6 7 8; do seq 1 $((f * 20)) >src/d$d/f$f.txt; done; done
    printf '#!/bin/sh\\necho run\\n' >run.sh; chmod 755 run.sh; ln -s src/d1/f1.txt link; printf 'x\\0y' >binary
    git add -A; git commit -q -m first
    for b in 1 2 3 4; do git checkout -q -b b$b main; echo $b >>src/d$b/f$b.txt; git rm -q src/d6/f$b.txt; mkdir -p new/b$b
        echo $b >new/b$b/n; git add -A; git commit -q -m b$b; done
    git checkout -q main; git tag -a -m t v1"
);

const INDEX: Known = Known {
    at: "**/{.git,.git/worktrees/*}/index",
    what: What::Bytes,
    why: "an index holds inode numbers and times of each file",
};

const RENEWED: Known = Known {
    at: "**/objects/**",
    what: What::Time,
    why: "git renews the time of an object that it would write again, which depends on which index entries are racy",
};

const LINKS: Known = Known {
    at: "**/{source/.git,copy/.git,bare.git,sub}/objects/**",
    what: What::Links,
    why: "docs/compatibility.md: git's links to a store that was there before are copies",
};

pub fn workloads() -> Vec<Workload> {
    vec![
        Workload {
            name: "git_checkouts_merges_rebase_stash",
            programs: &["git"],
            prepare: SOURCE,
            run: with_identity!(
                "cd source
                for b in b1 b2 b3 b4 main; do git checkout -q $b; git status --short; done
                git merge -q -m m1 b1; git merge -q --no-ff -m m2 b2
                git checkout -q b3; git rebase -q main; git log --format='%H %s'
                echo dirty >>src/d1/f1.txt; echo new >untracked; git stash -q -u; git status --short; git stash pop -q; git status --short
                git checkout -q -- .; rm untracked
                git checkout -q b4; git cherry-pick b1 >/dev/null; git revert --no-edit HEAD >/dev/null; git reset -q --hard HEAD~1
                git mv src/d2 src/moved; git commit -qam moved; git clean -fdxq
                echo conflict >src/d1/f1.txt; git commit -qam c1; git checkout -q -b other HEAD~1; echo else >src/d1/f1.txt; git commit -qam c2
                git merge b4 && exit 9 || true; git status --short; git merge --abort
                git ls-files -s; git diff --stat b1 b2; git blame src/d1/f1.txt | head -3; git fsck --full; git for-each-ref"
            ),
            known: &[INDEX, RENEWED],
            not_applied: &[Known {
                at: "source/**",
                what: What::Time,
                why: "docs/compatibility.md: another time alone is no change that `apply` takes",
            }],
            ..Workload::default()
        },
        Workload {
            name: "git_clone_fetch_push_bundle_gc_worktree",
            programs: &["git"],
            prepare: SOURCE,
            run: with_identity!(
                "git clone -q --no-hardlinks source copy; git clone -q --bare --no-hardlinks source bare.git; git clone -q --depth 1 file://$PWD/source shallow
                cd copy; git checkout -q -b mine; echo more >>src/d1/f1.txt; git commit -qam more; git push -q origin mine
                git remote add bare ../bare.git; git push -q bare mine; git fetch -q --all; git bundle create -q ../all.bundle --all; git bundle verify -q ../all.bundle
                git worktree add -q ../tree b2 2>/dev/null || git worktree add -q ../tree origin/b2; echo w >>../tree/src/d1/f2.txt; git -C ../tree commit -qam w
                git worktree list --porcelain; git gc -q --prune=now; git repack -q -a -d -f; git pack-refs --all; git count-objects -v | grep -v ^size
                git archive --format=tar HEAD | tar -t | wc -l; cd ..
                git clone -q all.bundle unbundled; git -C unbundled submodule --quiet add ../source sub; git -C unbundled commit -qm sub
                for r in source copy bare.git shallow tree unbundled; do git -C $r fsck --full 2>&1; git -C $r for-each-ref; git -C $r status --short 2>/dev/null || true; done"
            ),
            known: &[
                INDEX,
                RENEWED,
                LINKS,
                Known { what: What::Mode, ..LINKS },
                Known { at: "**/.git/modules/*/index", ..INDEX },
                Known { at: "**/FETCH_HEAD", what: What::Content, why: "git orders remotes by who answers first" },
            ],
            ..Workload::default()
        },
        Workload {
            name: "git_clone_by_hard_links",
            programs: &["git"],
            prepare: SOURCE,
            run: with_identity!("git clone -q source copy; git clone -q --bare source bare.git; git -C copy fsck --full; git -C copy status --short"),
            known: &[INDEX, RENEWED, LINKS, Known { what: What::Mode, ..LINKS }],
            ..Workload::default()
        },
    ]
}
