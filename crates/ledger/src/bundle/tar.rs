//! The one form of a tar archive (POSIX ustar) that a bundle has: regular files, no owners, no times. Other tools read it; of
//! what they write only the very same bytes are taken, so that no byte of a bundle is without meaning, and nothing in it can
//! stand for more than its own length (no compression, no sparse files, no links, no extended headers).

use std::io::{Error, ErrorKind, Read, Result, Write};

const BLOCK: usize = 512;
/// Eleven octal digits.
pub(super) const MEMBER_BYTES_MAX: u64 = (1 << 33) - 1;
/// The longest name.
pub(super) const NAME_BYTES_MAX: usize = 99;

/// The header that a member of this name and length has; `None` for one that can't have any.
fn header(name: &str, bytes: u64) -> Option<[u8; BLOCK]> {
    let is_plain = name.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let parts_are_names = name.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if name.len() > NAME_BYTES_MAX || !is_plain || !parts_are_names || bytes > MEMBER_BYTES_MAX {
        return None;
    }
    let mut block = [0u8; BLOCK];
    let size = format!("{bytes:011o}");
    let fields: [(usize, &[u8]); 8] = [
        (0, name.as_bytes()),
        (100, b"0000644"),
        (108, b"0000000"),
        (116, b"0000000"),
        (124, size.as_bytes()),
        (136, b"00000000000"),
        (148, b"        0"),
        (257, b"ustar\x0000"),
    ];
    for (at, field) in fields {
        block.get_mut(at..at + field.len())?.copy_from_slice(field);
    }
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block.get_mut(148..156)?.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Some(block)
}

/// For fuzzers, who don't find checksums: the same bytes with each header as its name and length give it, as far as there are any.
pub(super) fn mended(raw: &[u8]) -> Vec<u8> {
    let mut out = raw.to_vec();
    let mut at = 0usize;
    while let Some(block) = out.get(at..at.saturating_add(BLOCK)) {
        let name = block.split(|b| *b == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name.get(..name.len().min(100)).unwrap_or_default()).into_owned();
        let digits = block.get(124..135).and_then(|d| std::str::from_utf8(d).ok()).unwrap_or_default();
        let Ok(bytes) = u64::from_str_radix(digits, 8) else { break };
        let (Some(mended), Ok(length)) = (header(&name, bytes), usize::try_from(bytes + padding(bytes))) else { break };
        if let Some(into) = out.get_mut(at..at + BLOCK) {
            into.copy_from_slice(&mended);
        }
        at = at.saturating_add(BLOCK).saturating_add(length);
    }
    out
}

fn padding(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK as u64) - bytes
}

/// Writes members one after the other.
pub(super) struct Writer<W> {
    to: W,
    left: u64,
    padding: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to, left: 0, padding: 0 }
    }

    /// Begins a member, of which all `bytes` are then written.
    pub(super) fn begin(&mut self, name: &str, bytes: u64) -> Result<()> {
        self.pad()?;
        let header = header(name, bytes).ok_or_else(|| Error::other(format!("`{name}` can't be a bundle's member")))?;
        (self.left, self.padding) = (bytes, padding(bytes));
        self.to.write_all(&header)
    }

    pub(super) fn member(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.begin(name, content.len() as u64)?;
        self.write_all(content)
    }

    pub(super) fn finish(mut self) -> Result<W> {
        self.pad()?;
        self.to.write_all(&[0; 2 * BLOCK])?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn pad(&mut self) -> Result<()> {
        if self.left > 0 {
            return Err(Error::other("a member is shorter than was said"));
        }
        let zeros = [0; BLOCK];
        self.to.write_all(zeros.get(..usize::try_from(std::mem::take(&mut self.padding)).unwrap_or(0)).unwrap_or(&[]))
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(Error::other("a member is longer than was said"));
        }
        let written = self.to.write(bytes)?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> Result<()> {
        self.to.flush()
    }
}

/// Reads members one after the other; as a reader it gives the present one's content.
pub(super) struct Reader<R> {
    from: R,
    /// How far it was read, bytes.
    at: u64,
    left: u64,
    padding: u64,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, at: 0, left: 0, padding: 0 }
    }

    /// What of the present member was not read yet.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// The next member's name and length; `None` behind the last one, where the file must end.
    pub(super) fn next(&mut self) -> Result<Option<(String, u64)>> {
        let mut block = [0u8; BLOCK];
        while self.left > 0 {
            let _ = self.read(&mut block)?;
        }
        let length = usize::try_from(std::mem::take(&mut self.padding)).unwrap_or(0);
        let pad = block.get_mut(..length).unwrap_or_default();
        self.exact(pad)?;
        if pad.iter().any(|b| *b != 0) {
            return Err(self.wrong("there is something between two members"));
        }
        self.exact(&mut block)?;
        if block == [0; BLOCK] {
            return self.end().map(|()| None);
        }
        let name = block.split(|b| *b == 0).next().unwrap_or_default();
        let name = std::str::from_utf8(name.get(..name.len().min(100)).unwrap_or_default()).unwrap_or_default();
        let digits = block.get(124..135).and_then(|d| std::str::from_utf8(d).ok()).unwrap_or_default();
        let bytes = u64::from_str_radix(digits, 8).ok();
        match bytes.filter(|bytes| header(name, *bytes) == Some(block)) {
            Some(bytes) => {
                (self.left, self.padding) = (bytes, padding(bytes));
                Ok(Some((name.to_owned(), bytes)))
            }
            None => Err(self.wrong("this is not a member's header as flyball writes it")),
        }
    }

    fn end(&mut self) -> Result<()> {
        let mut block = [0u8; BLOCK];
        self.exact(&mut block)?;
        if block != [0; BLOCK] {
            return Err(self.wrong("there is something behind the last member"));
        }
        match self.from.read(&mut block)? {
            0 => Ok(()),
            _ => Err(self.wrong("there is something behind the archive's end")),
        }
    }

    fn exact(&mut self, into: &mut [u8]) -> Result<()> {
        match self.from.read_exact(into) {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => Err(self.cut_off()),
            other => {
                self.at += into.len() as u64;
                other
            }
        }
    }

    fn cut_off(&self) -> Error {
        Error::new(ErrorKind::UnexpectedEof, format!("it is cut off after byte {}", self.at))
    }

    fn wrong(&self, what: &str) -> Error {
        Error::new(ErrorKind::InvalidData, format!("{what}, before byte {}", self.at))
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        let most = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let into = into.get_mut(..most).unwrap_or_default();
        if into.is_empty() {
            return Ok(0);
        }
        let read = self.from.read(into)?;
        if read == 0 {
            return Err(self.cut_off());
        }
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}
