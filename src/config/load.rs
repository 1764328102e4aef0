//! From a path to a checked configuration.
//!
//! What enters: a file, or text. What leaves: [`Loaded`], or every error of every file. What can
//! never happen: a panic, an endless include, a file outside the configuration's own directory
//! included by mistake.

use std::fs;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Config;
use super::diagnostic::{Diagnostic, Severity};
use super::raw::{self, Findings, Source, Table, Text};
use super::read;
use crate::limits;

/// A configuration, and what somebody should know about it.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Diagnostic>,
}

impl Config {
    /// Reads and checks a file with everything it includes.
    ///
    /// # Errors
    /// Every error of every file, in the order of the files.
    pub fn load(path: &Path) -> Result<Loaded, Vec<Diagnostic>> {
        check(read_source(path).map_err(|e| vec![*e])?, path)
    }

    /// As [`Config::load`], from text. `base_dir` is where relative paths start; `file_name`
    /// stands in messages.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, base_dir: &Path, file_name: &str) -> Result<Loaded, Vec<Diagnostic>> {
        let source = Source {
            name: file_name.to_owned(),
            text: text.to_owned(),
            base: base_dir.to_owned(),
        };
        check(source, &base_dir.join(file_name))
    }
}

/// The body of a fuzz target: any bytes are a configuration or a list of errors that renders.
pub fn fuzz_config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let nowhere = Path::new("/nonexistent");
    let found = match Config::parse(&text, nowhere, "fuzz.toml") {
        Ok(loaded) => loaded.warnings,
        Err(errors) => {
            assert!(!errors.is_empty(), "a refusal without a reason");
            errors
        }
    };
    for diagnostic in found {
        assert!(!diagnostic.rendered(false).is_empty() && !diagnostic.to_string().is_empty());
    }
}

fn check(main: Source, path: &Path) -> Result<Loaded, Vec<Diagnostic>> {
    let findings = Findings::default();
    let config = check_sources(&main, path, &findings);
    let mut found = findings.into_inner();
    // Files in the order they were read; within one, from top to bottom. Stable otherwise.
    let mut files: Vec<String> = vec![main.name];
    for d in &found {
        if !files.contains(&d.file) {
            files.push(d.file.clone());
        }
    }
    found.sort_by_key(|d| (files.iter().position(|f| *f == d.file), d.line, d.column));
    let refused = found.iter().any(|d| d.severity == Severity::Error);
    match config {
        Some(config) if !refused => Ok(Loaded {
            config,
            warnings: found,
        }),
        _ => Err(found),
    }
}

fn check_sources(main: &Source, path: &Path, findings: &Findings) -> Option<Config> {
    let main_map = raw::parse(main, findings)?;
    let root = Table::root(&main_map, main, findings);
    let included = read_includes(&root, main, findings);
    let maps: Vec<_> = included
        .iter()
        .map(|source| raw::parse(source, findings))
        .collect();
    let parts: Vec<_> = included
        .iter()
        .zip(&maps)
        .filter_map(|(source, map)| Some(Table::root(map.as_ref()?, source, findings)))
        .collect();
    let complete = parts.len() == included.len();
    let names = root.texts("include");
    let files: Vec<PathBuf> = names.iter().map(|n| main.base.join(n.value)).collect();
    let config = read::config(path, root, parts, complete, findings);
    let mut digest = Sha256::new();
    for source in std::iter::once(main).chain(&included) {
        digest.update(&source.text);
    }
    let digest = digest.finalize().into();
    config.filter(|_| complete).map(|config| Config {
        digest,
        included: files,
        ..config
    })
}

fn read_includes(root: &Table<'_>, main: &Source, findings: &Findings) -> Vec<Source> {
    let list = root.texts("include");
    if list.len() > limits::INCLUDES {
        let place = root.place_of("include");
        let hint = format!("at most {}", limits::INCLUDES);
        findings.error(&place, "too many included files", hint);
        return Vec::new();
    }
    let mut seen: Vec<&str> = Vec::new();
    let mut sources = Vec::new();
    for text in list {
        if seen.contains(&text.value) {
            findings.error(&text.place, "this file is included twice", "name it once");
            continue;
        }
        seen.push(text.value);
        sources.extend(read_include(&text, main, findings));
    }
    sources
}

fn read_include(text: &Text<'_>, main: &Source, findings: &Findings) -> Option<Source> {
    let relative = Path::new(text.value);
    let below = relative
        .components()
        .all(|c| matches!(c, Component::Normal(_)));
    if text.value.is_empty() || !below {
        findings.error(
            &text.place,
            "this path leaves the configuration's directory",
            "a plain path below the file that includes it, as in \"policies/blood.toml\"",
        );
        return None;
    }
    match read_source(&main.base.join(relative)) {
        Ok(mut source) => {
            // Paths keep their root: only what is named in messages is the included file.
            source.base.clone_from(&main.base);
            Some(source)
        }
        Err(e) => {
            findings.error(&text.place, e.message, e.hint.unwrap_or_default());
            None
        }
    }
}

/// Reads one configuration file, or says why not.
pub(super) fn read_source(path: &Path) -> Result<Source, Box<Diagnostic>> {
    let name = path.display().to_string();
    let fail = |message: String, hint: &str| Box::new(Diagnostic::file(&name, message).hint(hint));
    let meta = fs::metadata(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => fail(
            format!("there is no file {name}"),
            "name another with --config, or start from the config.toml of the distribution",
        ),
        _ => fail(
            format!("{name} cannot be read: {e}"),
            "check its permissions",
        ),
    })?;
    if !meta.is_file() || meta.len() > limits::CONFIG_FILE {
        return Err(fail(
            format!("{name} is no configuration file"),
            "expected a regular file of at most 4 MiB",
        ));
    }
    let bytes = fs::read(path).map_err(|e| {
        fail(
            format!("{name} cannot be read: {e}"),
            "check its permissions",
        )
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| fail(format!("{name} is not UTF-8"), "TOML files are UTF-8 text"))?;
    let base = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    Ok(Source { name, text, base })
}
