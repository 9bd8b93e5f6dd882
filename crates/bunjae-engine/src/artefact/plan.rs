//! The section of the plan: what a network is planned for, the choices made, and what is packed.
//!
//! ```text
//! isa avx512
//! threads 1
//! compact no
//! form 3 32x32 winograd
//! packed 0 27648 weight "c1.w" as blocks 1x[4, 4]x27
//! ```
//!
//! `form` names a node by its index, the size of the result and the form; `packed` a place in the
//! section of packed weights, the number of elements, and the key.

use std::collections::BTreeMap;
use std::fmt::Write;

use bunjae_kernels::{ConvForm, Isa};

use super::ArtefactError;
use crate::compile::Target;
use crate::compile::store::Choice;

/// More threads than this are a mistake, and would take memory that nobody asked for.
const MAX_THREADS: usize = 1024;

/// What is written of a plan, packed weights aside.
pub(crate) struct Stored<'a> {
    pub target: Target,
    pub choices: &'a BTreeMap<Choice, ConvForm>,
}

/// A plan as it was read.
pub(super) struct Plan {
    pub isa: Option<Isa>,
    pub threads: usize,
    pub compact: bool,
    pub choices: BTreeMap<Choice, ConvForm>,
    pub packed: Vec<Packed>,
}

/// Packed weights.
pub(super) struct Packed {
    pub key: String,
    /// The first byte in the section.
    pub place: u64,
    pub elements: usize,
}

pub(super) fn write<'a>(
    stored: &Stored<'_>,
    packed: impl Iterator<Item = (&'a String, u64, usize)>,
) -> String {
    let Stored { target, choices } = stored;
    let compact = if target.compact { "yes" } else { "no" };
    let threads = target.threads.clamp(1, MAX_THREADS);
    let mut text = format!("isa {}\nthreads {threads}\ncompact {compact}\n", target.isa);
    for (Choice { node, size: [rows, columns] }, form) in *choices {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "form {node} {rows}x{columns} {}", form.name());
    }
    for (key, place, elements) in packed {
        let _ = writeln!(text, "packed {place} {elements} {key}");
    }
    text
}

pub(super) fn read(text: &str) -> Result<Plan, ArtefactError> {
    let mut plan = Plan {
        isa: None,
        threads: 1,
        compact: false,
        choices: BTreeMap::new(),
        packed: Vec::new(),
    };
    for (number, line) in (1..).zip(text.lines()) {
        if statement(line, &mut plan).is_none() {
            let line: String = line.chars().filter(|c| !c.is_control()).take(60).collect();
            let what = format!("line {number} is no statement: {line}");
            return Err(ArtefactError::Section { section: "plan", what });
        }
    }
    Ok(plan)
}

/// Reads a line; `None` where it is no statement.
fn statement(line: &str, plan: &mut Plan) -> Option<()> {
    let (verb, rest) = line.split_once(' ')?;
    match verb {
        "isa" => plan.isa = Isa::from_name(rest),
        "threads" => {
            plan.threads = rest.parse().ok().filter(|count| (1..=MAX_THREADS).contains(count))?;
        }
        "compact" => {
            plan.compact = match rest {
                "yes" => true,
                "no" => false,
                _ => return None,
            }
        }
        "form" => {
            let (node, rest) = rest.split_once(' ')?;
            let (size, form) = rest.split_once(' ')?;
            let (rows, columns) = size.split_once('x')?;
            let size = [rows.parse().ok()?, columns.parse().ok()?];
            let choice = Choice { node: node.parse().ok()?, size };
            // A form of another version is chosen anew.
            if let Some(form) = ConvForm::from_name(form) {
                plan.choices.insert(choice, form);
            }
        }
        "packed" => {
            let (place, rest) = rest.split_once(' ')?;
            let (elements, key) = rest.split_once(' ')?;
            let (place, elements) = (place.parse().ok()?, elements.parse().ok()?);
            plan.packed.push(Packed { key: key.to_string(), place, elements });
        }
        _ => return None,
    }
    Some(())
}
