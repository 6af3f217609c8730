//! Text files of the configuration, read within bounds.

use crate::finding::Finding;
use crate::policy::PolicyFile;
use crate::yaml::TEXT_BYTES_MAX;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Policy files of one directory.
pub const POLICY_FILES_MAX: usize = 1_000;

/// Bytes of all policy files together.
pub const POLICY_BYTES_MAX: usize = 64 << 20;

/// The text of a file.
///
/// # Errors
/// Where it cannot be read, is too large or no UTF-8.
pub fn read_text(path: &Path) -> Result<String, Finding> {
    let wrong = |rule, message: String| Finding::of_file(rule, path.display().to_string(), message);
    let mut bytes = Vec::new();
    let most = u64::try_from(TEXT_BYTES_MAX).unwrap_or(u64::MAX);
    File::open(path)
        .and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|error| wrong("file-unreadable", error.to_string()))?;
    if bytes.len() > TEXT_BYTES_MAX {
        return Err(wrong("file-too-large", format!("more than {TEXT_BYTES_MAX} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| wrong("file-unreadable", "the file is no UTF-8".to_owned()))
}

/// The policy files of a directory by name, or the one file that a path names.
///
/// Names that begin with a dot are skipped (a mounted ConfigMap has `..data`, editors have theirs), and a JSON Schema
/// beside the documents is for editors; links are followed. Any other file is a finding: a Deny that is left out because
/// of its file's name would go unnoticed.
///
/// # Errors
/// Everything that keeps them from being read.
pub fn policy_files(path: &Path) -> Result<Vec<PolicyFile>, Vec<Finding>> {
    let unreadable = |path: &Path, error: &io::Error| {
        Finding::of_file("file-unreadable", path.display().to_string(), error.to_string())
    };
    let metadata = fs::metadata(path).map_err(|error| vec![unreadable(path, &error)])?;
    if !metadata.is_dir() {
        return read_text(path).map(|text| vec![policy_file(path, text)]).map_err(|finding| vec![finding]);
    }
    let names: io::Result<Vec<PathBuf>> =
        fs::read_dir(path).and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect());
    let mut names = names.map_err(|error| vec![unreadable(path, &error)])?;
    names.sort();

    let (mut files, mut findings, mut bytes) = (Vec::new(), Vec::new(), 0);
    for name in names {
        match kind(&name) {
            Kind::Skipped => {}
            Kind::Other => findings.push(
                Finding::of_file("file-unexpected", name.display().to_string(), "this is no policy file")
                    .help("policy files end in `.yaml` or `.yml`; move others elsewhere"),
            ),
            Kind::Policy => match read_text(&name) {
                Ok(text) => {
                    bytes += text.len();
                    files.push(policy_file(&name, text));
                }
                Err(finding) => findings.push(finding),
            },
        }
        if files.len() > POLICY_FILES_MAX || bytes > POLICY_BYTES_MAX {
            let message =
                format!("more than {POLICY_FILES_MAX} policy files, or than {POLICY_BYTES_MAX} bytes of them");
            return Err(vec![Finding::of_file("file-too-large", path.display().to_string(), message)]);
        }
    }
    if findings.is_empty() { Ok(files) } else { Err(findings) }
}

enum Kind {
    Policy,
    Skipped,
    Other,
}

fn kind(path: &Path) -> Kind {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with('.') || name.ends_with(".schema.json") {
        Kind::Skipped
    } else if name.ends_with(".yaml") || name.ends_with(".yml") {
        Kind::Policy
    } else {
        Kind::Other
    }
}

fn policy_file(path: &Path, text: String) -> PolicyFile {
    PolicyFile { name: path.display().to_string().into(), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mounted_config_map() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("..2026_01")).unwrap();
        fs::write(at("..2026_01/b.yaml"), "b").unwrap();
        std::os::unix::fs::symlink("..2026_01", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/b.yaml", at("b.yaml")).unwrap();
        fs::write(at("a.yml"), "a").unwrap();
        fs::write(at("policy.schema.json"), "{}").unwrap();
        let texts =
            |path: &Path| policy_files(path).map(|files| files.into_iter().map(|file| file.text).collect::<Vec<_>>());
        assert_eq!(texts(directory.path()), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(texts(&at("b.yaml")), Ok(vec!["b".to_owned()]));

        fs::write(at("deny.yaml.off"), "").unwrap();
        fs::write(at("c.yaml"), [0xff]).unwrap();
        std::os::unix::fs::symlink("nowhere", at("d.yaml")).unwrap();
        fs::create_dir(at("e.yaml")).unwrap();
        let rules: Vec<_> = policy_files(directory.path()).unwrap_err().iter().map(|finding| finding.rule).collect();
        assert_eq!(rules, ["file-unreadable", "file-unreadable", "file-unexpected", "file-unreadable"]);
        assert_eq!(policy_files(&at("none")).unwrap_err().len(), 1);
    }
}
