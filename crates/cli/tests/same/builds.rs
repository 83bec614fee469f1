//! Compilers and their build tools.

use crate::tree::{Known, What};
use crate::workload::{Workload, rust_toolchain};
use flyball_testkit::user::User;

const MAKE: &str = r#"
mkdir -p src include
for n in 1 2 3 4 5 6 7 8; do printf '#include "all.h"\nint f%s(int x) { return x * %s + N; }\n' $n $n >src/f$n.c; done
printf '#define N 7\n' >include/all.h; for n in 1 2 3 4 5 6 7 8; do echo "int f$n(int x);" >>include/all.h; done
printf '#include "all.h"\n#include <stdio.h>\nint main(void) { printf("%%d\\n", f1(1) + f8(2)); return 0; }\n' >src/main.c
printf 'OBJ = $(patsubst src/%%.c,obj/%%.o,$(wildcard src/*.c))\nprog: lib.a obj/main.o\n\t$(CC) -o $@ obj/main.o lib.a\nlib.a: $(filter-out obj/main.o,$(OBJ))\n\trm -f $@; ar rcsD $@ $^\nobj/%%.o: src/%%.c include/all.h | obj\n\t$(CC) -O1 -g -MMD -Iinclude -c $< -o $@\nobj:\n\tmkdir -p $@\nclean:\n\trm -rf obj prog lib.a\n.PHONY: clean\n' >Makefile
"#;

const CARGO: &str = r#"
printf '[workspace]\nresolver = "2"\nmembers = ["app", "lib", "mac"]\n' >Cargo.toml
mkdir -p app/src lib/src mac/src
printf '[package]\nname = "mac"\nversion = "0.1.0"\nedition = "2021"\n[lib]\nproc-macro = true\n' >mac/Cargo.toml
printf 'use proc_macro::TokenStream;\n#[proc_macro]\npub fn seven(_: TokenStream) -> TokenStream { "7".parse().unwrap() }\n' >mac/src/lib.rs
printf '[package]\nname = "lib"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\nmac = { path = "../mac" }\n' >lib/Cargo.toml
printf 'pub fn seven() -> i32 { mac::seven!() }\n#[cfg(test)] mod tests { #[test] fn it() { assert_eq!(super::seven(), 7); } }\n' >lib/src/lib.rs
printf '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\nbuild = "build.rs"\n[dependencies]\nlib = { path = "../lib" }\n' >app/Cargo.toml
printf 'fn main() { let out = std::env::var("OUT_DIR").unwrap(); std::fs::write(format!("{out}/made.rs"), "pub const MADE: i32 = 35;").unwrap(); println!("cargo:rerun-if-changed=build.rs"); }\n' >app/build.rs
printf 'include!(concat!(env!("OUT_DIR"), "/made.rs"));\nfn main() { println!("{}", MADE + lib::seven()); }\n' >app/src/main.rs
"#;

const TOUCHED: Known = Known {
    at: "",
    what: What::Time,
    why: "docs/compatibility.md: another time alone is no change that `apply` takes",
};

/// The test's home is none that `rustup` knows, so the toolchain has to be named.
fn expose_toolchain(user: User) -> String {
    format!("[sandbox]\nexpose = [{:?}]", rust_toolchain(user).unwrap())
}

pub fn workloads() -> Vec<Workload> {
    vec![
        Workload {
            name: "make_parallel",
            programs: &["make", "cc", "ar"],
            prepare: MAKE,
            run: "make -s -j4; ./prog; make -s -j4; touch src/f1.c; make -j4 | sort; make -s clean; make -s -j2 prog; ./prog; cp Makefile GNUmakefile; make -n | wc -l",
            not_applied: &[Known { at: "src/f1.c", ..TOUCHED }],
            ..Workload::default()
        },
        Workload {
            name: "cargo_build_script_proc_macro_test",
            programs: &["cc"],
            needs: |user| rust_toolchain(user).err(),
            charter: expose_toolchain,
            prepare: CARGO,
            run: "export PATH=@TOOLCHAIN@/bin:$PATH; export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0
                cargo build -q --offline; target/debug/app; touch lib/src/lib.rs; cargo build -q --offline; cargo run -q --offline
                cargo test -q --offline -p lib --lib 2>&1 | grep -c 'test result: ok. 1 passed'; cargo clean -q --offline -p app; cargo build -q --offline --release; target/release/app
                cargo metadata --offline --format-version 1 --no-deps | wc -c; test -f Cargo.lock",
            known: &[
                Known {
                    at: "target/.rustc_info.json",
                    what: What::Content,
                    why: "the compiler's answers in the order in which cargo happened to ask",
                },
                Known {
                    at: "target/*/.fingerprint/*/dep-*",
                    what: What::Bytes,
                    why: "files in the order in which the compiler's threads read them",
                },
            ],
            not_applied: &[Known { at: "lib/src/lib.rs", ..TOUCHED }],
            ..Workload::default()
        },
    ]
}
