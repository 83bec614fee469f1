use super::{added, check};

#[test]
fn go_mod() {
    added(
        "/w/go.mod",
        "module example.com/x // here\n\ngo 1.22\n\nrequire example.com/a v1.0.0\nrequire (\n\texample.com/b v1.1.0 // indirect\n\t\"example.com/c\" v2.0.0+incompatible\n)\n\
         replace example.com/b v1.1.0 => ../b\nreplace (\n\texample.com/d => example.com/evil v0.1.0\n)\nexclude example.com/e v1.0.0\nretract [v1.0.0, v1.1.0]\ntoolchain go1.23.0\n",
        &[
            "example.com/a v1.0.0",
            "example.com/b <../b>",
            "example.com/c v2.0.0+incompatible",
            "example.com/d v0.1.0 <example.com/evil>",
            "golang.org/toolchain go1.23.0",
        ],
    );
    for odd in ["require (\n", "require a\n", "unheard of\n", "require \"a v1\n"] {
        check("/w/go.mod", "", odd, &["dependency.change golang opaque=true"]);
    }
}

#[test]
fn go_sum() {
    let old = "example.com/a v1.0.0 h1:aa=\nexample.com/a v1.0.0/go.mod h1:ab=\nexample.com/z v1.0.0/go.mod h1:zz=\n";
    added("/w/go.sum", old, &["example.com/a v1.0.0"]);
    check(
        "/w/go.sum",
        old,
        &old.replace("aa=", "ac="),
        &["dependency.change golang/example.com/a/v1.0.0 from=\"v1.0.0\""],
    );
    check("/w/go.sum", old, "one\n", &["dependency.change golang opaque=true"]);
}
