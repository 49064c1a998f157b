//! Objects from YAML files, as users keep them beside their tests.

use std::{fs, io, path::Path};

use serde_json::Value;

use crate::{server::ApiServer, status::ApiError, write::parse_yaml};

/// Why a fixture could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FixtureError {
    /// The file can't be read.
    #[error("can't read {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A document is no YAML, or no object the server knows.
    #[error("document {document}: {source}")]
    Document {
        /// Position in the file, from 1.
        document: usize,
        /// Why.
        source: ApiError,
    },
}

/// Reads the documents of a YAML or JSON text. Empty documents are skipped; a `List` gives its items.
///
/// # Errors
/// For the first document that can't be read.
pub fn parse(text: &str) -> Result<Vec<Value>, FixtureError> {
    let mut objects = Vec::new();
    for (at, document) in split(text).into_iter().enumerate() {
        let value = parse_yaml(document.as_bytes()).map_err(|source| FixtureError::Document {
            document: at + 1,
            source,
        })?;
        match value {
            Value::Null => {}
            Value::Object(mut list) if list.get("kind").is_some_and(|kind| kind == "List") => {
                if let Some(Value::Array(items)) = list.remove("items") {
                    objects.extend(items);
                }
            }
            object => objects.push(object),
        }
    }
    Ok(objects)
}

/// Loads the objects of a YAML or JSON text, status included. Returns how many.
///
/// # Errors
/// For the first document that can't be read or loaded; those before it stay loaded.
pub fn load_text(server: &ApiServer, text: &str) -> Result<usize, FixtureError> {
    let objects = parse(text)?;
    let count = objects.len();
    for (at, object) in objects.into_iter().enumerate() {
        server.load([object]).map_err(|source| FixtureError::Document {
            document: at + 1,
            source,
        })?;
    }
    Ok(count)
}

/// Loads a file, or every `.yaml`, `.yml` and `.json` file of a folder in the order of their names. Returns how many
/// objects.
///
/// # Errors
/// For the first file or document that can't be read or loaded; those before it stay loaded.
pub fn load_path(server: &ApiServer, path: impl AsRef<Path>) -> Result<usize, FixtureError> {
    let path = path.as_ref();
    let read_error = |path: &Path, source| FixtureError::Read {
        path: path.display().to_string(),
        source,
    };
    if !path.is_dir() {
        let text = fs::read_to_string(path).map_err(|source| read_error(path, source))?;
        return load_text(server, &text);
    }
    let entries = fs::read_dir(path).map_err(|source| read_error(path, source))?;
    let mut files = Vec::new();
    for entry in entries {
        files.push(entry.map_err(|source| read_error(path, source))?.path());
    }
    files.retain(|file| {
        let extension = file.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("yaml" | "yml" | "json"))
    });
    files.sort();
    let mut count = 0;
    for file in files {
        count += load_path(server, file)?;
    }
    Ok(count)
}

/// Cuts a text at its `---` lines.
fn split(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        if line.trim_end() == "---" || line.starts_with("--- ") {
            documents.push(String::new());
        } else if let Some(document) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    let has_content = |document: &String| {
        document
            .lines()
            .any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    };
    documents.retain(has_content);
    documents
}
