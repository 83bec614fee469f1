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
        Workload {
            name: "java_compile_jar_run",
            programs: &["javac", "java", "jar"],
            prepare: r#"
                mkdir -p src/app
                printf 'package app;\npublic class Main { public static void main(String[] a) throws Exception { System.out.println(Helper.join(java.util.List.of("a", "b"))); var p = new ProcessBuilder("sh", "-c", "echo child").redirectErrorStream(true).start(); System.out.print(new String(p.getInputStream().readAllBytes())); try (var s = new java.net.ServerSocket(0, 1, java.net.InetAddress.getLoopbackAddress()); var c = new java.net.Socket(s.getInetAddress(), s.getLocalPort())) { System.out.println(c.isConnected()); } java.nio.file.Files.writeString(java.nio.file.Path.of("made.txt"), "made"); try (var f = java.nio.channels.FileChannel.open(java.nio.file.Path.of("made.txt"), java.nio.file.StandardOpenOption.WRITE); var l = f.tryLock()) { System.out.println(l.isValid()); } } }\n' >src/app/Main.java
                printf 'package app;\nclass Helper { static String join(java.util.List<String> l) { return String.join("-", l) + ((java.util.function.Supplier<String>) () -> "!").get(); } }\n' >src/app/Helper.java"#,
            run: "javac -J-Xshare:auto -d classes src/app/*.java; jar --date=2024-01-02T03:04:05Z -cfe app.jar app.Main -C classes .; java -Xmx128m -jar app.jar; jar -tf app.jar | sort; java -cp classes app.Main | head -1",
            ..Workload::default()
        },
        Workload {
            name: "go_build_test_run",
            programs: &["go"],
            prepare: r#"
                mkdir -p pkg
                printf 'module example.test/m\n\ngo 1.19\n' >go.mod
                printf 'package pkg\n\n// Twice doubles.\nfunc Twice(n int) int { return 2 * n }\n' >pkg/pkg.go
                printf 'package pkg\n\nimport "testing"\n\nfunc TestTwice(t *testing.T) {\n\tif Twice(2) != 4 {\n\t\tt.Fatal()\n\t}\n}\n' >pkg/pkg_test.go
                printf 'package main\n\nimport (\n\t"fmt"\n\t"os"\n\n\t"example.test/m/pkg"\n)\n\nfunc main() {\n\tdone := make(chan int)\n\tgo func() { done <- pkg.Twice(21) }()\n\tfmt.Println(<-done)\n\t_ = os.WriteFile("made", []byte("by go"), 0o640)\n}\n' >main.go"#,
            run: "export GOFLAGS=-mod=mod GOPROXY=off CGO_ENABLED=0; go build -p 2 -o prog .; ./prog; go vet ./...; go test ./... | cut -f1,2; go fmt ./...; go run .; go build -p 2 -o again .; cmp prog again",
            is_long: true,
            ..Workload::default()
        },
    ]
}
