//! Reads TOML tables key by key, with places; a key that nobody asked for is an error.

use super::report::{At, Place, Report, clip, nearest};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A TOML table that is being read.
pub(crate) struct Keys<'t> {
    /// Its name as messages say it, such as `[charter]`.
    pub name: String,
    pub place: Place,
    table: &'t DeTable<'t>,
    asked: Vec<&'static str>,
}

impl<'t> Keys<'t> {
    pub fn new(name: String, place: Place, table: &'t DeTable<'t>) -> Self {
        Self { name, place, table, asked: Vec::new() }
    }

    fn at(&self, span: Range<usize>) -> Place {
        Place::new(&self.place.file, span)
    }

    pub fn raw(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.asked.push(key);
        self.table.get(key)
    }

    fn typed<T>(
        &mut self,
        report: &mut Report,
        key: &'static str,
        want: &str,
        read: impl FnOnce(&'t DeValue<'t>) -> Option<T>,
    ) -> Option<At<T>> {
        let value = self.raw(key)?;
        let place = self.at(value.span());
        let Some(read) = read(value.get_ref()) else {
            let got = value.get_ref().type_str();
            report.error("FB0103", &place, format!("`{key}` of {} is to be {want}, not {got}", self.name), ());
            return None;
        };
        Some(At { value: read, place })
    }

    /// Whether the key is there at all.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub fn str(&mut self, report: &mut Report, key: &'static str) -> Option<At<String>> {
        self.typed(report, key, "a string", |v| v.as_str().map(str::to_owned))
    }

    pub fn required_str(&mut self, report: &mut Report, key: &'static str) -> Option<At<String>> {
        if self.table.get(key).is_none() {
            self.asked.push(key);
            report.error("FB0104", &self.place, format!("{} lacks `{key}`", self.name), format!("add `{key} = \"…\"`"));
            return None;
        }
        self.str(report, key)
    }

    pub fn int(&mut self, report: &mut Report, key: &'static str) -> Option<At<i64>> {
        self.typed(report, key, "a whole number within 64 bits", integer)
    }

    pub fn bool(&mut self, report: &mut Report, key: &'static str) -> Option<At<bool>> {
        self.typed(report, key, "`true` or `false`", DeValue::as_bool)
    }

    /// A list of strings; a single string counts as a list of one.
    pub fn strs(&mut self, report: &mut Report, key: &'static str) -> Vec<At<String>> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        if let Some(one) = value.get_ref().as_str() {
            return vec![At { value: one.to_owned(), place: self.at(value.span()) }];
        }
        let Some(list) = value.get_ref().as_array() else {
            let got = value.get_ref().type_str();
            let place = self.at(value.span());
            report.error(
                "FB0103",
                &place,
                format!("`{key}` of {} is to be a list of strings, not {got}", self.name),
                (),
            );
            return Vec::new();
        };
        let mut out = Vec::new();
        for item in list {
            let place = self.at(item.span());
            match item.get_ref().as_str() {
                Some(text) => out.push(At { value: text.to_owned(), place }),
                None => {
                    report.error("FB0103", &place, format!("`{key}` of {} is to be a list of strings", self.name), ())
                }
            }
        }
        out
    }

    /// A duration such as `"5m"`, in nanoseconds.
    pub fn duration(&mut self, report: &mut Report, key: &'static str) -> Option<At<u64>> {
        let text = self.str(report, key)?;
        match duration_ns(&text.value) {
            Some(value) => Some(At { value, place: text.place }),
            None => {
                let said = clip(&text.value);
                report.error(
                    "FB0103",
                    &text.place,
                    format!("`{said}` is no duration"),
                    "write a whole number and a unit: `500ms`, `10s`, `5m`, `24h`, `7d`",
                );
                None
            }
        }
    }

    /// One of `choices`.
    pub fn choice(&mut self, report: &mut Report, key: &'static str, choices: &[&str]) -> Option<At<String>> {
        let text = self.str(report, key)?;
        if choices.contains(&text.value.as_str()) {
            return Some(text);
        }
        let said = clip(&text.value);
        let hint = nearest(&said, choices.iter().copied());
        report.error("FB0105", &text.place, format!("`{key}` of {} can't be `{said}`", self.name), hint);
        None
    }

    pub fn table(&mut self, report: &mut Report, key: &'static str) -> Option<Keys<'t>> {
        let found = self.typed(report, key, "a table", DeValue::as_table)?;
        Some(Keys::new(format!("[{key}]"), self.key_place(key), found.value))
    }

    /// The tables of `[[key]]`.
    pub fn tables(&mut self, report: &mut Report, key: &'static str) -> Vec<Keys<'t>> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let Some(list) = value.get_ref().as_array() else {
            let place = self.at(value.span());
            report.error("FB0103", &place, format!("`{key}` is to be a list of tables"), format!("write `[[{key}]]`"));
            return Vec::new();
        };
        let mut out = Vec::new();
        for item in list {
            let place = self.at(item.span());
            match item.get_ref().as_table() {
                Some(table) => out.push(Keys::new(format!("[[{key}]]"), place, table)),
                None => report.error("FB0103", &place, format!("`{key}` is to be a list of tables"), ()),
            }
        }
        out
    }

    /// All entries of a table whose keys are the author's, such as `[owners]`, by name.
    pub fn entries(&self) -> Vec<(At<String>, &'t Spanned<DeValue<'t>>)> {
        self.table.iter().map(|(k, v)| (At { value: k.get_ref().to_string(), place: self.at(k.span()) }, v)).collect()
    }

    /// The tables of `[key.NAME]`, by name.
    pub fn named_tables(&mut self, report: &mut Report, key: &'static str) -> Vec<(At<String>, Keys<'t>)> {
        let Some(outer) = self.table(report, key) else { return Vec::new() };
        let mut out = Vec::new();
        for (name, value) in outer.entries() {
            match value.get_ref().as_table() {
                Some(table) => {
                    let keys = Keys::new(format!("[{key}.{}]", clip(&name.value)), name.place.clone(), table);
                    out.push((name, keys));
                }
                None => {
                    let said = clip(&name.value);
                    let message = format!("`{said}` of [{key}] is to be a table");
                    report.error("FB0103", &name.place, message, format!("write `[{key}.{said}]` above its keys"));
                }
            }
        }
        out
    }

    fn key_place(&self, key: &str) -> Place {
        let span = self.table.get_key_value(key).map_or(self.place.span.clone(), |(k, _)| k.span());
        self.at(span)
    }

    /// Tells of every key that nobody asked for.
    pub fn finish(self, report: &mut Report) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if !self.asked.contains(&name) {
                let hint = nearest(name, self.asked.iter().copied());
                let place = self.at(key.span());
                report.error("FB0102", &place, format!("{} has no key `{}`", self.name, clip(name)), hint);
            }
        }
    }
}

/// A TOML integer within `i64`.
pub(crate) fn integer(value: &DeValue<'_>) -> Option<i64> {
    value.as_integer().and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok())
}

/// Nanoseconds of a duration such as `500ms`, `10s`, `5m`, `24h`, `7d` or `0`.
pub(crate) fn duration_ns(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit_ns: u64 = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    };
    // Cedar, JSON and most readers count in signed 64 bits: a longer window can't be said elsewhere.
    number.parse::<u64>().ok()?.checked_mul(unit_ns).filter(|ns| *ns <= i64::MAX.unsigned_abs())
}

/// Bytes of a size such as `2GiB`, `512MiB` or `1000`.
pub(crate) fn size_bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit_bytes: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_bytes)
}
