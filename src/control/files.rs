//! Text files of the configuration, read within bounds.

use crate::finding::Finding;
use crate::identity::open_regular;
use crate::policy::PolicyFile;
use crate::yaml::TEXT_BYTES_MAX;
use std::fs;
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
    open_regular(path)
        .and_then(|file| {
            // What it says of its length is where to begin, whatever is then read.
            let length = file.metadata()?.len().min(most);
            bytes.reserve_exact(usize::try_from(length).unwrap_or(TEXT_BYTES_MAX).saturating_add(1));
            file.take(most.saturating_add(1)).read_to_end(&mut bytes)
        })
        .map_err(|error| wrong("file-unreadable", error.to_string()))?;
    if bytes.len() > TEXT_BYTES_MAX {
        return Err(wrong("file-too-large", format!("more than {TEXT_BYTES_MAX} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| wrong("file-unreadable", "the file is no UTF-8".to_owned()))
}

/// The policy files of a directory by name, or the one file that a path names.
///
/// The files of a mounted ConfigMap are links into `..data`, itself a link that is swapped as a whole: they are read
/// behind that link, so that a swap in the middle never mixes two generations. Names that begin with a dot are skipped,
/// and a JSON Schema beside the documents is for editors. Any other file is a finding: a Deny that is left out because of
/// its file's name would go unnoticed.
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
    let behind = fs::canonicalize(path.join("..data"));
    let names = names(behind.as_deref().unwrap_or(path)).map_err(|error| vec![unreadable(path, &error)])?;

    let (mut files, mut findings, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (name, entry) in names {
        let shown = path.join(&name);
        match kind(&name) {
            Kind::Skipped => {}
            Kind::Other => findings.push(
                Finding::of_file("file-unexpected", shown.display().to_string(), "this is no policy file")
                    .help("policy files end in `.yaml` or `.yml`; move others elsewhere"),
            ),
            Kind::Policy => match read_text(&entry) {
                Ok(text) => {
                    bytes += text.len();
                    files.push(policy_file(&shown, text));
                }
                Err(finding) => findings.push(Finding { file: shown.display().to_string().into(), ..finding }),
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

/// The entries of a directory by name.
fn names(directory: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let named = |entry: fs::DirEntry| (entry.file_name().to_string_lossy().into_owned(), entry.path());
    let mut names: Vec<_> = fs::read_dir(directory)?.map(|entry| entry.map(named)).collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}

enum Kind {
    Policy,
    Skipped,
    Other,
}

fn kind(name: &str) -> Kind {
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
    use std::os::unix::fs::symlink;

    /// The names and texts of a directory's policy files, or the rules of what is wrong.
    fn read(path: &Path) -> Result<Vec<(String, String)>, Vec<&'static str>> {
        let name = |file: &PolicyFile| file.name.rsplit_once('/').unwrap().1.to_owned();
        policy_files(path)
            .map(|files| files.into_iter().map(|file| (name(&file), file.text)).collect())
            .map_err(|findings| findings.iter().map(|finding| finding.rule).collect())
    }

    #[test]
    fn a_mounted_config_map() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("..2026_01")).unwrap();
        fs::write(at("..2026_01/b.yaml"), "b").unwrap();
        symlink("..2026_01", at("..data")).unwrap();
        symlink("..data/b.yaml", at("b.yaml")).unwrap();
        assert_eq!(read(directory.path()), Ok(vec![("b.yaml".to_owned(), "b".to_owned())]));
        assert_eq!(read(&at("b.yaml")), Ok(vec![("b.yaml".to_owned(), "b".to_owned())]));
    }

    #[test]
    fn a_directory_of_files() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("b.yaml"), "b").unwrap();
        fs::write(at("a.yml"), "a").unwrap();
        fs::write(at("policy.schema.json"), "{}").unwrap();
        fs::write(at(".gitkeep"), "").unwrap();
        let texts = [("a.yml", "a"), ("b.yaml", "b")].map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(read(directory.path()), Ok(texts.to_vec()));

        fs::write(at("deny.yaml.off"), "").unwrap();
        fs::write(at("c.yaml"), [0xff]).unwrap();
        symlink("nowhere", at("d.yaml")).unwrap();
        fs::create_dir(at("e.yaml")).unwrap();
        let expected = ["file-unreadable", "file-unreadable", "file-unexpected", "file-unreadable"];
        assert_eq!(read(directory.path()), Err(expected.to_vec()));
        assert_eq!(read(&at("none")), Err(vec!["file-unreadable"]));
    }
}
