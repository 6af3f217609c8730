use super::*;
use crate::wire::schemas::Lifecycle;
use std::fs;

const MONEY: &str = r#"{"type":"fixed","name":"shop.Money","size":8}"#;
const LINE: &str = r#"{"type":"record","name":"shop.Line","fields":[{"name":"price","type":"Money"}]}"#;
const ORDER: &str =
    r#"{"type":"record","name":"shop.Order","fields":[{"name":"lines","type":{"type":"array","items":"Line"}}]}"#;
const INT: &str = r#""int""#;

/// A directory with files, by their paths below it.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for (path, text) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().expect("below the directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    }
    directory
}

fn load(directory: &tempfile::TempDir) -> Result<Schemas, Vec<Finding>> {
    super::load(directory.path(), &Programs::default())
}

fn check_refused(files: &[(&str, &str)], expected: &[&str]) {
    let directory = directory(files);
    let findings = load(&directory).expect_err(expected.first().unwrap_or(&""));
    let below = format!("{}/", directory.path().display());
    let found: Vec<_> = findings.iter().map(|finding| finding.to_string().replace(&below, "")).collect();
    let same =
        found.len() == expected.len() && found.iter().zip(expected).all(|(found, start)| found.starts_with(start));
    assert!(same, "is     {found:#?}\nwanted {expected:#?}");
}

fn catalogue(subjects: &str) -> String {
    format!("apiVersion: avrogate.dev/v1alpha1\nkind: SchemaCatalog\nsubjects:\n{subjects}")
}

#[test]
fn loads_both_layouts_and_what_the_catalogue_says() {
    let catalogue = catalogue(
        "  orders-value:
    owner: team-shop
    lifecycle: deprecated
    versions:
      - {version: 3, ids: [17, 18], references: [\"line.value@1\"]}
  line.value:
    versions: [{version: 1, references: [money@2]}]
",
    );
    let directory = directory(&[
        ("orders-value/3.avsc", ORDER),
        ("orders-value/10.avsc", INT),
        ("line.value.1.avsc", LINE),
        ("money.2.avsc", MONEY),
        ("shop.yaml", &catalogue),
    ]);
    // The line on its own lacks nothing, because the catalogue says what it refers to.
    let schemas = load(&directory).unwrap_or_else(|findings| panic!("{findings:#?}"));
    let all: Vec<_> = schemas.iter().map(|(_, schema)| format!("{}@{}", schema.subject, schema.version)).collect();
    assert_eq!(all, ["line.value@1", "money@2", "orders-value@3", "orders-value@10"]);
    let order = schemas.get(schemas.by_id(17)[0]);
    assert_eq!((order.version, order.schema.full_name()), (3, Some("shop.Order")));
    assert_eq!((order.owner.as_deref(), order.lifecycle), (Some("team-shop"), Lifecycle::Deprecated));
    assert_eq!(schemas.by_id(18), schemas.by_id(17));
    assert_eq!(schemas.by_fingerprint(order.fingerprint), schemas.by_id(17));
    let (_, money) = schemas.iter().nth(1).expect("money");
    assert_eq!((money.owner.as_deref(), money.lifecycle, money.ids.len()), (None, Lifecycle::Production, 0));
}

#[test]
fn an_empty_directory_has_no_schemas() {
    assert!(load(&directory(&[])).expect("nothing wrong").is_empty());
}

#[test]
fn everything_wrong_is_a_finding_with_its_place() {
    check_refused(
        &[("a.1.avsc", "{\"type\":\n  \"no\"}"), ("b/1.avsc", "["), ("c.yaml", "kind: Cat\n"), ("d/1.avsc", INT)],
        &[
            "a.1.avsc:2:3: error[schema-invalid]: no type `no` is defined",
            "b/1.avsc:1:2: error[schema-invalid]: expected a JSON value",
            "c.yaml:1:7: error[value-unknown]: unknown value `Cat`",
        ],
    );
}

#[test]
fn files_of_other_names_are_findings() {
    for name in
        ["README.md", "a.avsc", "a.0.avsc", "a.01.avsc", "a.+1.avsc", ".1.avsc", "a.1.json", "x.yml", "a/b.avsc"]
            .into_iter()
            .chain(["a/1.yaml", "a/4294967296.avsc", ".hidden"])
    {
        check_refused(&[(name, INT)], &[&format!("{name}: error[file-name-unknown]: this is neither")]);
    }
    check_refused(&[("a.1.avsc", INT), ("a/1.avsc", INT)], &["a.1.avsc: error[version-duplicate]: a@1 is "]);
    check_refused(&[("a/1.avsc/x", INT)], &["a/1.avsc: error[file-unreadable]: not a regular file"]);
}

#[test]
fn catalogue_and_files_agree() {
    for (subjects, expected) in [
        ("  b: {}\n", "c.yaml:4:3: error[subject-unknown]: b has no schema file"),
        ("  a: {versions: [{version: 2}]}\n", "c.yaml:4:28: error[version-unknown]: a@2 has no schema file"),
        ("  a: {versions: [{version: 0}]}\n", "c.yaml:4:28: error[version-unknown]: a@0 has no schema file"),
        ("  a: {versions: [{version: 1}, {version: 1}]}\n", "c.yaml:4:42: error[version-duplicate]: a@1 stands"),
        ("  a: {version: 1}\n", "c.yaml:4:7: error[key-unknown]: unknown key `version`"),
        ("  a: {}\n  a: {}\n", "c.yaml:5:3: error[key-duplicate]: `a` stands here a second time"),
        ("  a: {lifecycle: Old}\n", "c.yaml:4:18: error[value-unknown]: unknown value `Old`"),
        ("  a: {versions: [{version: 1, ids: [7, 7]}]}\n", "c.yaml:4:40: error[id-duplicate]: the id 7"),
        ("  a: {versions: [{version: 1, ids: [-7]}]}\n", "c.yaml:4:37: error[value-invalid]"),
        (
            "  a: {versions: [{version: 1, references: [b]}]}\n",
            "c.yaml:4:44: error[reference-invalid]: a reference is written <subject>@<version>",
        ),
        (
            "  a: {versions: [{version: 1, references: [b@1]}]}\n",
            "c.yaml:4:44: error[reference-unknown]: b@1 has no schema file",
        ),
        (
            "  a: {versions: [{version: 1, references: [a@1]}]}\n",
            "c.yaml:4:44: error[reference-cycle]: a@1 needs itself, as a@1 refers to it here",
        ),
    ] {
        check_refused(&[("a.1.avsc", INT), ("c.yaml", &catalogue(subjects))], &[expected]);
    }
    let again = catalogue("  a: {}\n");
    check_refused(
        &[("a.1.avsc", INT), ("b.yaml", &again), ("c.yaml", &again)],
        &["c.yaml:4:3: error[subject-duplicate]: a is described in "],
    );
}

#[test]
fn one_id_is_one_schema() {
    let ids = catalogue("  a: {versions: [{version: 1, ids: [7]}]}\n  b: {versions: [{version: 1, ids: [7]}]}\n");
    let same = directory(&[("a.1.avsc", INT), ("b.1.avsc", INT), ("c.yaml", &ids)]);
    assert_eq!(load(&same).expect("one schema in two subjects").by_id(7).len(), 2);
    check_refused(
        &[("a.1.avsc", INT), ("b.1.avsc", MONEY), ("c.yaml", &ids)],
        &["c.yaml:5:37: error[id-conflict]: the id 7 is that of a@1, which is another"],
    );
}

#[test]
fn references_may_not_come_back() {
    let subjects = "  a: {versions: [{version: 1, references: [b@1]}]}
  b: {versions: [{version: 1, references: [c@1]}]}
  c: {versions: [{version: 1, references: [b@1]}]}\n";
    let (a, b) = (r#"{"type":"fixed","name":"A","size":1}"#, r#"{"type":"fixed","name":"B","size":1}"#);
    check_refused(
        &[("a.1.avsc", a), ("b.1.avsc", b), ("c.1.avsc", MONEY), ("c.yaml", &catalogue(subjects))],
        &[
            "c.yaml:5:44: error[reference-cycle]: c@1 needs itself, as b@1 refers to it here",
            "c.yaml:6:44: error[reference-cycle]: b@1 needs itself, as c@1 refers to it here",
        ],
    );
}

#[test]
fn what_is_wrong_with_a_referenced_file_is_told_once() {
    let subjects = "  a: {versions: [{version: 1, references: [b@1]}]}\n";
    check_refused(
        &[("a.1.avsc", INT), ("b.1.avsc", "[["), ("c.yaml", &catalogue(subjects))],
        &["b.1.avsc:1:3: error[schema-invalid]"],
    );
}

#[test]
fn files_are_bounded() {
    let spaces = |length: u64| format!("{INT}{}", " ".repeat(usize::try_from(length).expect("small") - INT.len()));
    assert!(load(&directory(&[("a.1.avsc", &spaces(FILE_BYTES_MAX))])).is_ok());
    let long = spaces(FILE_BYTES_MAX + 1).replace("  ", "é");
    check_refused(&[("a.1.avsc", &long)], &["a.1.avsc: error[file-too-large]: more than 1048576 bytes"]);
    let mebibyte = spaces(FILE_BYTES_MAX);
    let names: Vec<_> = (101..=165).map(|version| format!("a/{version}.avsc")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), mebibyte.as_str())).collect();
    let all = directory(&files[..64]);
    assert_eq!(found_by_reading(&all), [""; 0]);
    let one_more = directory(&files);
    assert_eq!(found_by_reading(&one_more), ["file-too-large"]);
}

#[test]
fn entries_are_bounded() {
    let names: Vec<_> = (1..FILES_MAX).map(|version| format!("a/{version}.avsc")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), INT)).collect();
    let directory = directory(&files);
    assert_eq!(found_by_reading(&directory), [""; 0]);
    fs::write(directory.path().join("a/10000.avsc"), INT).expect("a file more");
    assert_eq!(found_by_reading(&directory), ["files-too-many"]);
}

/// The rules that reading the files alone finds broken.
fn found_by_reading(directory: &tempfile::TempDir) -> Vec<&'static str> {
    let mut findings = Vec::new();
    directory::read(directory.path(), &mut findings);
    findings.iter().map(|finding| finding.rule).collect()
}

#[cfg(unix)]
#[test]
fn reads_a_mounted_config_map() {
    use std::os::unix::fs::symlink;
    let directory = directory(&[("..2026_1/a.1.avsc", INT), ("..2026_2/a.1.avsc", MONEY), ("..2026_2/b/1.avsc", INT)]);
    let at = |name: &str| directory.path().join(name);
    symlink("..2026_1", at("..data")).expect("a link");
    symlink("..data/a.1.avsc", at("a.1.avsc")).expect("a link");
    assert_eq!(load(&directory).expect("one schema").len(), 1);
    symlink("..2026_2", at("..new")).expect("a link");
    fs::rename(at("..new"), at("..data")).expect("a swap");
    symlink("..data/b", at("b")).expect("a link");
    assert_eq!(load(&directory).expect("two schemas").len(), 2);
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_broken_ones_found() {
    let directory = directory(&[("..elsewhere/1.avsc", INT)]);
    std::os::unix::fs::symlink("..elsewhere", directory.path().join("a")).expect("a link");
    assert_eq!(load(&directory).expect("one schema").len(), 1);
    std::os::unix::fs::symlink("nowhere", directory.path().join("b.1.avsc")).expect("a link");
    assert_eq!(load(&directory).expect_err("a broken link")[0].rule, "file-unreadable");
    let missing = super::load(&directory.path().join("missing"), &Programs::default()).expect_err("no directory");
    assert_eq!(missing[0].rule, "file-unreadable");
}

#[test]
fn programs_outlive_a_generation_only_where_the_next_one_uses_them() {
    let programs = Programs::default();
    let directory = directory(&[("a.1.avsc", INT), ("b.1.avsc", INT), ("c.1.avsc", MONEY)]);
    let one = super::load(directory.path(), &programs).expect("schemas");
    assert_eq!(programs.len(), 2, "one program for one text");
    fs::remove_file(directory.path().join("c.1.avsc")).expect("a file less");
    let two = super::load(directory.path(), &programs).expect("schemas");
    assert_eq!(programs.len(), 2, "the first generation is still in use");
    let program =
        |schemas: &Schemas| schemas.iter().next().map(|(_, schema)| schema.program.clone()).expect("a schema");
    assert!(Arc::ptr_eq(&program(&one), &program(&two)));
    drop(one);
    let _three = super::load(directory.path(), &programs).expect("schemas");
    assert_eq!(programs.len(), 1);
}
