//! XML from anywhere: with limits on what a parser may be made to do.

use roxmltree::{Document, ParsingOptions};

/// The most elements, comments and texts; a parser takes some 50 bytes for each.
const MAX_NODES: u32 = 1 << 20;

/// The most equals signs. Each attribute has one and is compared with all others of its element, so
/// this bounds what is quadratic; cascades and annotations have a handful.
const MAX_EQUALS: usize = 1 << 12;

/// Parses a text without a document type, so without entities. Nesting costs no stack.
pub(crate) fn parse(text: &str) -> Result<Document<'_>, String> {
    if text.bytes().filter(|&byte| byte == b'=').count() > MAX_EQUALS {
        return Err("not XML of this kind: thousands of attributes".to_owned());
    }
    let options =
        ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|error| format!("not XML: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_and_attributes_are_bounded() {
        let deep = "<a>".repeat(300_000) + &"</a>".repeat(300_000);
        assert!(parse(&deep).is_ok());
        let wide = "<a/>".repeat(1 << 20);
        assert!(parse(&format!("<b>{wide}</b>")).unwrap_err().starts_with("not XML: nodes limit"));
        let attributes: String = (0..100_000).map(|at| format!(" a{at}=''")).collect();
        assert!(parse(&format!("<a{attributes}/>")).unwrap_err().contains("attributes"));
        let entities = "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>";
        assert!(parse(entities).is_err());
    }
}
