//! Which files define what a build service runs: by their place, since the service finds them by it.

/// Files that are one at any place in which they stand: services are pointed to subfolders, and a folder may be a repository.
const NAMES: &[&str] = &[
    ".appveyor.yml",
    ".cirrus.star",
    ".cirrus.yml",
    ".drone.jsonnet",
    ".drone.star",
    ".drone.yaml",
    ".drone.yml",
    ".gitlab-ci.yaml",
    ".gitlab-ci.yml",
    ".semaphore.yml",
    ".travis.yaml",
    ".travis.yml",
    ".woodpecker.yaml",
    ".woodpecker.yml",
    "Jenkinsfile",
    "appveyor.yml",
    "azure-pipelines.yaml",
    "azure-pipelines.yml",
    "bitbucket-pipelines.yaml",
    "bitbucket-pipelines.yml",
    "bitrise.yml",
    "buildkite.yaml",
    "buildkite.yml",
    "buildspec.yaml",
    "buildspec.yml",
    "cloudbuild.json",
    "cloudbuild.yaml",
    "cloudbuild.yml",
    "codefresh.yml",
    "codemagic.yaml",
    "wercker.yml",
];

/// Folders beneath which every file is one: scripts and local actions there run as well.
const FOLDERS: &[&str] = &[
    "/.buildkite/",
    "/.circleci/",
    "/.forgejo/actions/",
    "/.forgejo/workflows/",
    "/.gitea/actions/",
    "/.gitea/workflows/",
    "/.github/actions/",
    "/.github/workflows/",
    "/.gitlab/ci/",
    "/.semaphore/",
    "/.teamcity/",
    "/.woodpecker/",
];

// What is looked for is looked for at hidden folders alone.
const _: () = {
    let mut rest = FOLDERS;
    while let [folder, others @ ..] = rest {
        assert!(matches!(folder.as_bytes(), [b'/', b'.', ..]), "a folder that is not hidden");
        rest = others;
    }
};

/// Whether the path goes on with one of [`FOLDERS`].
fn is_at_folder(rest: &str) -> bool {
    FOLDERS.iter().any(|folder| rest.starts_with(folder))
}

/// Whether the file is a CI definition.
pub(super) fn is_ci(path: &str) -> bool {
    let name = crate::names::base(path);
    NAMES.contains(&name)
        || path.match_indices("/.").any(|(at, _)| is_at_folder(path.get(at..).unwrap_or_default()))
        || name.ends_with(".Jenkinsfile")
        || name.starts_with("Jenkinsfile.")
        || name.ends_with(".gitlab-ci.yml")
        || name.starts_with("azure-pipelines") && (name.ends_with(".yml") || name.ends_with(".yaml"))
}
