//! A JSON text with the place of each value in it, so that an edit leaves every other byte as it was.

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub start: usize,
    pub end: usize,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Object(Vec<Member>),
    Array(Vec<Node>),
    Other,
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub name: String,
    /// Of its name's first quote.
    pub start: usize,
    pub value: Node,
}

impl Node {
    pub fn members(&self) -> Option<&[Member]> {
        if let Kind::Object(members) = &self.kind { Some(members) } else { None }
    }

    pub fn items(&self) -> Option<&[Node]> {
        if let Kind::Array(items) = &self.kind { Some(items) } else { None }
    }

    pub fn member(&self, name: &str) -> Option<&Node> {
        self.members()?.iter().find(|member| member.name == name).map(|member| &member.value)
    }
}

/// Reads a text that a JSON parser has accepted, which bounds its depth. `None` where the two disagree.
pub(super) fn read(text: &str) -> Option<Node> {
    let mut reader = Reader { bytes: text.as_bytes(), text, at: 0 };
    let node = reader.value()?;
    reader.space();
    (reader.at == text.len()).then_some(node)
}

struct Reader<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Option<Node> {
        self.space();
        let start = self.at;
        let kind = match self.bytes.get(start)? {
            b'{' => self.object()?,
            b'[' => self.array()?,
            b'"' => {
                self.string()?;
                Kind::Other
            }
            _ => {
                while self.bytes.get(self.at).is_some_and(|b| !b" \t\r\n,]}".contains(b)) {
                    self.at += 1;
                }
                Kind::Other
            }
        };
        (self.at > start).then_some(Node { start, end: self.at, kind })
    }

    fn object(&mut self) -> Option<Kind> {
        let mut members = Vec::new();
        self.at += 1;
        while !self.is_next(b'}') {
            if !members.is_empty() {
                self.take(b',')?;
            }
            self.space();
            let start = self.at;
            let name = self.string()?;
            self.take(b':')?;
            members.push(Member { name, start, value: self.value()? });
        }
        self.take(b'}')?;
        Some(Kind::Object(members))
    }

    fn array(&mut self) -> Option<Kind> {
        let mut items = Vec::new();
        self.at += 1;
        while !self.is_next(b']') {
            if !items.is_empty() {
                self.take(b',')?;
            }
            items.push(self.value()?);
        }
        self.take(b']')?;
        Some(Kind::Array(items))
    }

    fn string(&mut self) -> Option<String> {
        let start = self.at;
        self.take(b'"')?;
        loop {
            match self.bytes.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        serde_json::from_str(self.text.get(start..self.at)?).ok()
    }

    fn space(&mut self) {
        while self.bytes.get(self.at).is_some_and(|b| b" \t\r\n".contains(b)) {
            self.at += 1;
        }
    }

    fn is_next(&mut self, byte: u8) -> bool {
        self.space();
        self.bytes.get(self.at).is_none_or(|b| *b == byte)
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.space();
        (self.bytes.get(self.at) == Some(&byte)).then(|| self.at += 1)
    }
}
