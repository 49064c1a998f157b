//! A Markdown table of results on standard output, ready to be committed under `benches/results/`.

use std::fmt::Display;

/// Prints the head of a table.
#[expect(clippy::print_stdout, reason = "a bench reports on standard output")]
pub fn head(columns: &[&str]) {
    println!("| {} |", columns.join(" | "));
    println!("|{}", "--|".repeat(columns.len()));
}

/// Prints a row.
#[expect(clippy::print_stdout, reason = "a bench reports on standard output")]
pub fn row(cells: &[&dyn Display]) {
    let cells: Vec<String> = cells.iter().map(ToString::to_string).collect();
    println!("| {} |", cells.join(" | "));
}
