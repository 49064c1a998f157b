//! Named checks and how their outcome is written, in the form that kube-apiserver made common.

use std::fmt::Write;

/// The outcome of a check: passed, or why not.
pub type Outcome = Result<(), String>;

/// Whether an answer tells why a check failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Reasons {
    /// Only that it failed, since probes are open to everybody who reaches the port.
    #[default]
    Withheld,
    /// The reason too, made fit for one line.
    Shown,
}

/// Checks that were run, in order.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) outcomes: Vec<(String, Outcome)>,
}

impl Checked {
    /// The answer for all of them: whether they passed, and the text.
    ///
    /// # Source
    ///
    /// apiserver `pkg/server/healthz` `handleRootHealth`.
    pub(super) fn render(
        self,
        endpoint: &str,
        exclude: &[String],
        verbose: bool,
        reasons: Reasons,
    ) -> (bool, String) {
        let mut text = String::new();
        let mut passed = true;
        for name in exclude
            .iter()
            .filter(|name| !self.outcomes.iter().any(|(known, _)| known == *name))
        {
            let name = crate::manager::text::one_line(name);
            let _ = writeln!(
                text,
                "warn: some health checks cannot be excluded: no matches for {name:?}"
            );
        }
        for (name, outcome) in &self.outcomes {
            let _ = match outcome {
                _ if exclude.contains(name) => writeln!(text, "[+]{name} excluded: ok"),
                Ok(()) => writeln!(text, "[+]{name} ok"),
                Err(reason) => {
                    passed = false;
                    writeln!(text, "[-]{name} failed: {}", told(reason, reasons))
                }
            };
        }
        if passed && !verbose {
            return (true, "ok".to_owned());
        }
        let _ = writeln!(
            text,
            "{endpoint} check {}",
            if passed { "passed" } else { "failed" }
        );
        (passed, text)
    }

    /// The answer for one of them; `None` if there is none of that name.
    pub(super) fn render_one(self, name: &str, reasons: Reasons) -> Option<(bool, String)> {
        let (_, outcome) = self.outcomes.into_iter().find(|(known, _)| known == name)?;
        Some(match outcome {
            Ok(()) => (true, "ok".to_owned()),
            Err(reason) => (false, format!("{name} failed: {}\n", told(&reason, reasons))),
        })
    }
}

fn told(reason: &str, reasons: Reasons) -> String {
    match reasons {
        Reasons::Withheld => "reason withheld".to_owned(),
        Reasons::Shown => crate::manager::text::one_line(reason),
    }
}
