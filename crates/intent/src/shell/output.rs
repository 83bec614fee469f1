//! What a command certainly writes to its standard output: for the next one in a pipe.

use crate::reading::Word;

const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// The output of `echo`, `printf` or `cat` with these arguments, where it is the same in every shell.
pub(super) fn literal(program: &str, args: &[Word], stdin: Option<&str>) -> Option<String> {
    let args: Vec<&str> = args.iter().map(Word::known).collect::<Option<_>>()?;
    let out = match program {
        // Some shells read escapes here, some options.
        "echo" if args.first().is_none_or(|first| !first.starts_with('-')) => {
            Some(args.join(" ") + "\n").filter(|text| !text.contains('\\'))
        }
        "printf" => printf(&args),
        "cat" if args.iter().all(|arg| *arg == "-") && args.len() < 2 => stdin.map(str::to_owned),
        _ => None,
    }?;
    (out.len() <= OUTPUT_BYTES_MAX && !out.contains('\0')).then_some(out)
}

/// `%s`, `%%`, `\n`, `\t` and `\\` only.
fn printf(args: &[&str]) -> Option<String> {
    let (format, mut args) = args.split_first()?;
    if format.starts_with('-') {
        return None;
    }
    let mut out = String::new();
    loop {
        let mut has_taken = false;
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => out.push(match chars.next()? {
                    'n' => '\n',
                    't' => '\t',
                    '\\' => '\\',
                    _ => return None,
                }),
                '%' => match chars.next()? {
                    '%' => out.push('%'),
                    's' => {
                        has_taken = true;
                        if let Some((first, rest)) = args.split_first() {
                            out.push_str(first);
                            args = rest;
                        }
                    }
                    _ => return None,
                },
                c => out.push(c),
            }
        }
        if args.is_empty() || !has_taken {
            return args.is_empty().then_some(out);
        }
        if out.len() > OUTPUT_BYTES_MAX {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sure_is_told_and_nothing_else() {
        let of = |program: &str, args: &[&str]| {
            literal(program, &args.iter().map(|arg| Word::Known((*arg).to_owned())).collect::<Vec<_>>(), None)
        };
        assert_eq!(of("echo", &["a", "b"]).as_deref(), Some("a b\n"));
        assert_eq!(of("printf", &["%s\\n", "a", "b"]).as_deref(), Some("a\nb\n"));
        assert_eq!(of("printf", &["a%%\\tb"]).as_deref(), Some("a%\tb"));
        for (program, args) in [
            ("echo", &["-e", "a"][..]),
            ("echo", &["a\\nb"]),
            ("printf", &["%d", "1"]),
            ("printf", &["\\x41"]),
            ("printf", &["-v", "x"]),
            ("printf", &["a", "b"]),
            ("printf", &[]),
            ("cat", &["f"]),
            ("cat", &[]),
        ] {
            assert_eq!(of(program, args), None, "{program} {args:?}");
        }
    }
}
