//! What the crate's source says of itself: its modules, what each imports, and how long it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A module, without its tests.
#[derive(Debug, Default)]
pub(crate) struct Module {
    /// The file under `src`.
    pub(crate) file: String,
    pub(crate) is_documented: bool,
    /// Lines of code, comments and blank lines before and between the tests.
    pub(crate) lines: usize,
    /// Every path that it names, complete: `crate::time::now`, `std::io::Error`.
    pub(crate) paths: BTreeSet<String>,
}

/// The modules by their paths, such as `lookup::scheduler`; the root's is empty.
pub(crate) type Modules = BTreeMap<String, Module>;

/// The modules in the folder `src`, without those that are only compiled for tests.
pub(crate) fn modules(src: &Path) -> Modules {
    let mut files = Vec::new();
    collect(src, src, &mut files);
    parse(&files)
}

fn collect(src: &Path, folder: &Path, files: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(src, &path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let name = path.strip_prefix(src).expect("a file in it").to_string_lossy();
            files.push((name.into_owned(), std::fs::read_to_string(&path).expect("a source")));
        }
    }
}

/// The modules in these files, given by name and text.
pub(crate) fn parse(files: &[(String, String)]) -> Modules {
    let path_of = |file: &str| match file.strip_suffix(".rs").unwrap_or(file) {
        "lib" => String::new(),
        name => name.strip_suffix("/mod").unwrap_or(name).replace('/', "::"),
    };
    let mut for_tests = Vec::new();
    let mut parsed = Vec::new();
    for (file, text) in files {
        let (path, code) = (path_of(file), without_tests(text));
        for name in code.test_modules {
            for_tests.push(join(&path, &name));
        }
        parsed.push((path, file, text.starts_with("//!"), code.text));
    }
    parsed.retain(|(path, ..)| {
        !for_tests.iter().any(|test| path == test || path.starts_with(&format!("{test}::")))
    });
    let names: BTreeSet<String> = parsed.iter().map(|(path, ..)| path.clone()).collect();
    let module = |(path, file, is_documented, code): (String, &String, bool, String)| {
        let paths = paths(&path, &tokens(&code), &names);
        let lines = code.lines().count();
        (path, Module { file: file.clone(), is_documented, lines, paths })
    };
    parsed.into_iter().map(module).collect()
}

impl Module {
    /// The modules of the crate that it imports from, each by its own path.
    pub(crate) fn imports<'a>(&'a self, modules: &'a Modules) -> BTreeSet<&'a str> {
        let longest = |path: &'a String| {
            let mut path = path.strip_prefix("crate::")?;
            while !modules.contains_key(path) {
                path = path.rsplit_once("::").map_or("", |(parent, _)| parent);
            }
            Some(path)
        };
        self.paths.iter().filter_map(longest).collect()
    }
}

struct Code {
    text: String,
    /// The modules in files of their own that are only compiled for tests.
    test_modules: Vec<String>,
}

/// Removes each item under `#[cfg(test)]`. Relies on rustfmt: an item ends with a `;` or with a `}`
/// that is indented like its attribute.
fn without_tests(text: &str) -> Code {
    let mut code = Code { text: String::new(), test_modules: Vec::new() };
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let indent = &line[..line.len() - line.trim_start().len()];
        if line.trim() != "#[cfg(test)]" {
            code.text.push_str(line);
            code.text.push('\n');
            continue;
        }
        let mut item = String::new();
        for line in lines.by_ref() {
            item.push_str(line.trim());
            let is_end = line.ends_with(';') && !item.contains('{');
            if is_end || line.strip_prefix(indent).is_some_and(|rest| rest.starts_with('}')) {
                break;
            }
        }
        if let Some((_, name)) = item.rsplit_once("mod ")
            && let Some(name) = name.strip_suffix(';')
        {
            code.test_modules.push(name.to_owned());
        }
    }
    code
}

/// The identifiers and the punctuation, without comments, texts and lifetimes.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let raw = rest.strip_prefix("r").map(|rest| rest.trim_start_matches('#'));
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(quoted) = raw.filter(|raw| raw.starts_with('"')) {
            let hashes = rest.len() - quoted.len() - 1;
            let end = format!("\"{}", "#".repeat(hashes));
            let begin = rest.len() - quoted.len() + 1;
            begin + rest[begin..].find(&end).expect("the end of a text") + end.len()
        } else if first == '"' {
            1 + end_of_quoted(&rest[1..], '"')
        } else if first == '\'' {
            let is_lifetime = rest[1..].starts_with(is_name) && rest.chars().nth(2) != Some('\'');
            1 + if is_lifetime { 0 } else { end_of_quoted(&rest[1..], '\'') }
        } else if is_name(first) {
            let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            tokens.push(&rest[..length]);
            length
        } else if rest.starts_with("::") {
            tokens.push("::");
            2
        } else {
            let length = first.len_utf8();
            if !first.is_whitespace() {
                tokens.push(&rest[..length]);
            }
            length
        };
        rest = &rest[length..];
    }
    tokens
}

fn end_of_quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// A name that a `use` brings in.
struct Import {
    name: String,
    path: String,
}

/// Every path in the tokens of the module `here`, with imported names replaced by their paths.
fn paths(here: &str, tokens: &[&str], modules: &BTreeSet<String>) -> BTreeSet<String> {
    let mut imports = Vec::new();
    let mut named = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at] == "use" {
            at += 1 + use_tree(&tokens[at + 1..], "", &mut imports);
            continue;
        }
        let begin = at;
        while is_identifier(tokens[at])
            && tokens.get(at + 1) == Some(&"::")
            && tokens.get(at + 2).is_some_and(|next| is_identifier(next))
        {
            at += 2;
        }
        if at > begin {
            named.push(tokens[begin..=at].concat());
        }
        at += 1;
    }
    let complete = |path: String| {
        let (first, rest) = path.split_once("::").unwrap_or((&path, ""));
        let import = imports.iter().find(|import: &&Import| import.name == first);
        import.map_or_else(|| path.clone(), |import| format!("{}::{rest}", import.path))
    };
    let mut paths: BTreeSet<String> = named.into_iter().map(complete).collect();
    paths.extend(imports.into_iter().map(|import| import.path));
    paths.iter().map(|path| absolute(here, path, modules)).collect()
}

/// Reads a tree of imports up to its end and returns the number of tokens in it.
fn use_tree(tokens: &[&str], prefix: &str, imports: &mut Vec<Import>) -> usize {
    let mut path = prefix.to_owned();
    let mut alias = None;
    let mut is_group = false;
    let mut at = 0;
    loop {
        match tokens[at] {
            "{" => {
                is_group = true;
                at += 1;
                while tokens[at] != "}" {
                    at += use_tree(&tokens[at..], &path, imports);
                    at += usize::from(tokens[at] == ",");
                }
            }
            "as" => {
                at += 1;
                alias = Some(tokens[at]);
            }
            "," | "}" | ";" => {
                let path = path.strip_suffix("::self").unwrap_or(&path);
                let name = alias.or_else(|| path.rsplit("::").next()).unwrap_or_default();
                if !is_group {
                    imports.push(Import { name: name.to_owned(), path: path.to_owned() });
                }
                return at;
            }
            "::" => {}
            segment => path = join(&path, segment),
        }
        at += 1;
    }
}

fn is_identifier(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// `path` as named in the module `here`, from the root: `super::a` becomes `crate::b::a`.
fn absolute(here: &str, path: &str, modules: &BTreeSet<String>) -> String {
    let (first, rest) = path.split_once("::").unwrap_or((path, ""));
    let parent =
        |module: &str| module.rsplit_once("::").map_or("", |(parent, _)| parent).to_owned();
    match first {
        "crate" => path.to_owned(),
        "self" => format!("crate::{}", join(here, rest)),
        "super" => {
            let (mut base, mut rest) = (parent(here), rest);
            while let Some(more) = rest.strip_prefix("super::") {
                (base, rest) = (parent(&base), more);
            }
            format!("crate::{}", join(&base, rest))
        }
        _ if modules.contains(&join(here, first)) => format!("crate::{}", join(here, path)),
        _ => path.to_owned(),
    }
}

fn join(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") }
}
