//! Which files are read, which are written, and how each is to be understood.
//!
//! What enters: the paths of a command line. What leaves: items, in an order that only the names
//! decide. What can never happen: a file that nobody can tell the format of is passed over, or
//! an output is written over an input.

use std::fs;
use std::path::{Path, PathBuf};

use super::stop::{Stop, Why};
use crate::coding::Coding;
use crate::config::Format;
use crate::format::csv::Dialect;
use crate::limits;

/// How one file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Csv,
    Tsv,
    Ndjson,
    Json,
}

impl Written {
    pub const ALL: [(&'static str, Self); 4] = [
        ("csv", Self::Csv),
        ("tsv", Self::Tsv),
        ("ndjson", Self::Ndjson),
        ("json", Self::Json),
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Ndjson => "ndjson",
            Self::Json => "json",
        }
    }

    /// By a file's name: its format, and what it is compressed by.
    fn of(name: &str) -> (Option<Self>, Option<Coding>) {
        let lower = name.to_ascii_lowercase();
        let (bare, coding) = match () {
            () if lower.ends_with(".gz") => (&lower[..lower.len() - 3], Some(Coding::Gzip)),
            () if lower.ends_with(".zst") => (&lower[..lower.len() - 4], Some(Coding::Zstd)),
            () => (&lower[..], None),
        };
        let written = match bare.rsplit_once('.').map(|(_, end)| end) {
            Some("csv") => Some(Self::Csv),
            Some("tsv" | "tab") => Some(Self::Tsv),
            Some("ndjson" | "jsonl") => Some(Self::Ndjson),
            Some("json") => Some(Self::Json),
            _ => None,
        };
        (written, coding)
    }

    fn format(self, rows: Dialect) -> Format {
        match self {
            Self::Csv => Format::Csv(rows),
            Self::Tsv => Format::Tsv {
                header: rows.header,
            },
            Self::Ndjson => Format::Ndjson,
            Self::Json => Format::Json,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Stdin,
    File(PathBuf),
}

/// One file of a run.
#[derive(Clone, Debug)]
pub struct Item {
    pub input: Input,
    /// The input in messages and in the manifest.
    pub name: String,
    /// Below a folder of outputs; empty where there is one output.
    pub output: PathBuf,
    pub written: Written,
    pub format: Format,
    pub decode: Option<Coding>,
    pub encode: Option<Coding>,
}

impl Item {
    /// The output in messages and in the manifest; empty where there is one.
    pub fn output_name(&self) -> String {
        self.output.display().to_string()
    }
}

/// Where the outputs go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Stdout,
    File(PathBuf),
    Folder(PathBuf),
}

impl Target {
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Stdout => None,
            Self::File(path) | Self::Folder(path) => Some(path),
        }
    }

    /// What is written until all of it is there.
    pub fn part(&self) -> Option<PathBuf> {
        self.path().map(|path| beside(path, ".cryptonym-part"))
    }
}

/// A file beside another: its name and more.
pub fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// Finds out what is to be done.
///
/// # Errors
/// Paths that do not go together, a format that is not known, too many files.
pub fn items(
    inputs: &[PathBuf],
    out: &Path,
    format: Option<Written>,
    rows: Dialect,
) -> Result<(Vec<Item>, Target), Stop> {
    let usage = |what: String, next: &str| Stop::new(Why::Failed, what, next);
    // Names are put beside it: `released/` is `released`.
    let out = &out.components().collect::<PathBuf>();
    if out.file_name().is_none() {
        let what = format!("{} has no name of its own", out.display());
        return Err(usage(what, "Name an output: -o OUT."));
    }
    let dash = Path::new("-");
    let one_file = match inputs {
        [one] => one == dash || !one.is_dir(),
        _ => false,
    };
    if inputs.iter().any(|input| input == dash) && inputs.len() > 1 {
        let what = "standard input (-) goes alone".to_owned();
        return Err(usage(what, "Name files only, or - only."));
    }
    if one_file {
        let target = match out == dash {
            true => Target::Stdout,
            false => Target::File(out.to_owned()),
        };
        if out.is_dir() {
            let what = format!("{} is a folder, and the input is one file", out.display());
            return Err(usage(what, "Name the output file: -o FOLDER/NAME."));
        }
        let item = item(&inputs[0], PathBuf::new(), format, rows)?;
        return Ok((vec![ending(item, &target)?], target));
    }
    if out == dash {
        let what = "several files do not go to standard output".to_owned();
        return Err(usage(what, "Name a folder: -o OUT."));
    }
    let mut items = Vec::new();
    for input in inputs {
        let name = input.file_name().map(PathBuf::from).unwrap_or_default();
        if !input.is_dir() {
            items.push(item(input, name, format, rows)?);
            continue;
        }
        let (inside, outside) = (fs::canonicalize(out), fs::canonicalize(input));
        let within = |folder: &Path| outside.as_ref().is_ok_and(|o| folder.starts_with(o));
        let parent = out.parent().filter(|p| !p.as_os_str().is_empty());
        let parent = fs::canonicalize(parent.unwrap_or(Path::new(".")));
        if inside.is_ok_and(|i| within(&i)) || parent.is_ok_and(|p| within(&p)) {
            let what = format!("{} lies in {}", out.display(), input.display());
            return Err(usage(what, "Name a folder beside the inputs."));
        }
        // Several folders keep their names, so that they do not mix.
        let root = if inputs.len() > 1 {
            name
        } else {
            PathBuf::new()
        };
        below(input, &root, format, rows, 0, &mut items)?;
    }
    if items.is_empty() {
        let what = "there is no file in the folder".to_owned();
        return Err(usage(
            what,
            "Name a folder with .csv, .tsv, .ndjson or .json files.",
        ));
    }
    items.sort_by(|a, b| a.output.cmp(&b.output));
    if let Some(pair) = items
        .windows(2)
        .find(|pair| pair[0].output == pair[1].output)
    {
        let what = format!("{} and {} have one name", pair[0].name, pair[1].name);
        return Err(usage(what, "Run them one by one, to different outputs."));
    }
    Ok((items, Target::Folder(out.to_owned())))
}

fn below(
    folder: &Path,
    name: &Path,
    format: Option<Written>,
    rows: Dialect,
    depth: usize,
    items: &mut Vec<Item>,
) -> Result<(), Stop> {
    let failed = |error: std::io::Error| Stop::file(folder, &error);
    if depth > limits::FEED_DEPTH {
        let what = format!("{}: folders nest too deep", folder.display());
        return Err(Stop::new(Why::Failed, what, "Is there a link back?"));
    }
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, name) = (entry.path(), name.join(entry.file_name()));
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            below(&path, &name, format, rows, depth + 1, items)?;
        } else if path.is_file() {
            items.push(item(&path, name, format, rows)?);
        } else {
            let what = format!("{} is neither a file nor a folder", path.display());
            return Err(Stop::new(Why::Failed, what, "Remove it from the folder."));
        }
        if items.len() > limits::FEED_FILES {
            let what = format!("more than {} files", limits::FEED_FILES);
            return Err(Stop::new(Why::Failed, what, "Run them folder by folder."));
        }
    }
    Ok(())
}

/// Every input can be opened: a name that is wrong is told before anything is begun.
///
/// # Errors
/// The first that cannot.
pub fn readable(items: &[Item]) -> Result<(), Stop> {
    items.iter().try_for_each(|item| match &item.input {
        Input::Stdin => Ok(()),
        Input::File(path) => {
            let opened = fs::File::open(path).map(drop);
            opened.map_err(|error| Stop::file(path, &error))
        }
    })
}

fn item(
    path: &Path,
    output: PathBuf,
    format: Option<Written>,
    rows: Dialect,
) -> Result<Item, Stop> {
    let stdin = path == Path::new("-");
    let name = path.display().to_string();
    let (by_name, coding) = if stdin {
        (None, None)
    } else {
        Written::of(&name)
    };
    let Some(written) = format.or(by_name) else {
        let what = match stdin {
            true => "standard input has no name that says its format".to_owned(),
            false => format!("{name}: no format is known by this name"),
        };
        let next = "Say --format csv, tsv, ndjson or json.";
        return Err(Stop::new(Why::Failed, what, next));
    };
    Ok(Item {
        input: if stdin {
            Input::Stdin
        } else {
            Input::File(path.to_owned())
        },
        name,
        output,
        written,
        format: written.format(rows),
        decode: coding,
        encode: coding,
    })
}

/// One output is compressed as its own name says, and written as the input is.
fn ending(item: Item, target: &Target) -> Result<Item, Stop> {
    let Some(path) = target.path() else {
        return Ok(Item {
            encode: None,
            ..item
        });
    };
    let (written, encode) = Written::of(&path.display().to_string());
    if let Some(other) = written.filter(|written| *written != item.written) {
        let what = format!(
            "the output is named as {}, and the input is {}",
            other.name(),
            item.written.name()
        );
        let next = "A feed does not convert: give the output the input's ending.";
        return Err(Stop::new(Why::Failed, what, next));
    }
    Ok(Item { encode, ..item })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_10_a_name_says_format_and_compression() {
        for (name, written, coding) in [
            ("a.csv", Some(Written::Csv), None),
            ("a.b/c.TSV.GZ", Some(Written::Tsv), Some(Coding::Gzip)),
            ("x.jsonl.zst", Some(Written::Ndjson), Some(Coding::Zstd)),
            ("x.json", Some(Written::Json), None),
            ("x.gz", None, Some(Coding::Gzip)),
            ("csv", None, None),
        ] {
            assert_eq!(Written::of(name), (written, coding), "{name}");
        }
    }

    #[test]
    fn formats_10_a_feed_does_not_convert() {
        let inputs = [PathBuf::from("a.csv")];
        let rows = Dialect::default();
        let (made, _) = items(&inputs, Path::new("b.csv.zst"), None, rows).unwrap();
        assert_eq!((made[0].decode, made[0].encode), (None, Some(Coding::Zstd)));
        let refused = items(&inputs, Path::new("b.json"), None, rows).unwrap_err();
        assert!(refused.what.contains("named as json"), "{refused}");
        assert!(items(&[PathBuf::from("-")], Path::new("-"), None, rows).is_err());
    }

    #[test]
    fn formats_10_a_tree_keeps_its_names_in_one_order() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("in/b")).unwrap();
        for name in ["in/z.csv", "in/b/a.ndjson.gz", "in/a.csv"] {
            std::fs::write(at(name), "").unwrap();
        }
        let rows = Dialect::default();
        let (made, target) = items(&[at("in")], &at("out"), None, rows).unwrap();
        let names: Vec<_> = made
            .iter()
            .map(|i| i.output.display().to_string())
            .collect();
        assert_eq!(names, ["a.csv", "b/a.ndjson.gz", "z.csv"]);
        assert_eq!(target, Target::Folder(at("out")));
        assert!(items(&[at("in")], &at("in/out"), None, rows).is_err());
        std::fs::write(at("in/notes.txt"), "").unwrap();
        let refused = items(&[at("in")], &at("out"), None, rows).unwrap_err();
        assert!(refused.what.contains("notes.txt"), "{refused}");
    }
}
