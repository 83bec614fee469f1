//! The charters that come with the binary: `init --from NAME` copies one out.

/// A charter of the library.
pub struct Charter {
    /// Its name.
    pub name: &'static str,
    /// What it is for, in a few words.
    pub is_for: &'static str,
    /// Its files, by name.
    pub files: &'static [(&'static str, &'static str)],
}

macro_rules! charter {
    ($name:literal, $is_for:literal) => {
        Charter {
            name: $name,
            is_for: $is_for,
            files: &[
                ("charter.toml", include_str!(concat!("../../../charters/", $name, "/charter.toml"))),
                ("rules.cedar", include_str!(concat!("../../../charters/", $name, "/rules.cedar"))),
                ("README.md", include_str!(concat!("../../../charters/", $name, "/README.md"))),
            ],
        }
    };
}

/// All of them, by name.
pub const CHARTERS: &[Charter] = &[
    charter!("coding", "an agent that writes code in a repository"),
    charter!("data", "an agent that answers questions from a database"),
    charter!("release", "what goes to production, when, and who agreed"),
    charter!("setpoints", "an industrial setpoint controller"),
    charter!("sre", "an agent that keeps a service running"),
    charter!("team", "several agents on one repository"),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::CHARTERS;

    #[test]
    fn every_charter_of_the_folder_comes_with_the_binary() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charters");
        let folders = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir());
        let mut names: Vec<String> = folders.map(|p| p.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        // Those are for measuring: their tools are AgentDojo's.
        names.retain(|name| !name.starts_with("agentdojo-"));
        names.sort();
        assert_eq!(names, CHARTERS.iter().map(|c| c.name).collect::<Vec<_>>());
    }
}
