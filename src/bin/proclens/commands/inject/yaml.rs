//! YAML text to [`Node`] and back. Aliases and merge keys are expanded. Comments of a document that is
//! written anew are lost.

use super::tree::{Map, Node, Scalar};
use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;

/// More nodes than this are an attack: aliases of aliases.
const MAX_NODES: usize = 1_000_000;
const MAX_DEPTH: usize = 100;

/// Why a text is no document.
#[derive(Debug, PartialEq)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    pub what: String,
}

/// A document.
pub struct Document {
    /// `None` if there are only comments.
    pub root: Option<Node>,
    /// Something that is valid YAML and cannot be in a Kubernetes object.
    pub unsupported: Option<Problem>,
}

/// Reads the only document in `text`.
pub fn read(text: &str) -> Result<Document, Problem> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        line: 1,
        nodes: 0,
        anchors: HashMap::new(),
        unsupported: None,
    };
    let mut root = None;
    loop {
        match reader.next()? {
            Event::StreamEnd => break,
            Event::StreamStart | Event::Nothing | Event::DocumentEnd => {}
            Event::DocumentStart(_) if root.is_some() => {
                return Err(reader.problem("a second document without `---`"));
            }
            Event::DocumentStart(_) => {}
            event => root = Some(reader.node(event, 0)?),
        }
    }
    Ok(Document {
        root,
        unsupported: reader.unsupported,
    })
}

struct Reader<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    /// The line of the last event.
    line: usize,
    nodes: usize,
    /// The node of each anchor, and how many nodes it has.
    anchors: HashMap<usize, (Node, usize)>,
    unsupported: Option<Problem>,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Event<'t>, Problem> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(event)
            }
            Some(Err(error)) => Err(Problem {
                line: error.marker().line(),
                what: error.info().to_owned(),
            }),
            None => Ok(Event::StreamEnd),
        }
    }

    fn problem(&self, what: &str) -> Problem {
        Problem {
            line: self.line,
            what: what.to_owned(),
        }
    }

    fn node(&mut self, event: Event<'t>, depth: usize) -> Result<Node, Problem> {
        if depth > MAX_DEPTH {
            return Err(self.problem("nested too deeply"));
        }
        let nodes_before = self.nodes;
        self.count(1)?;
        let (anchor, node) = match event {
            Event::Alias(anchor) => {
                let Some((node, nodes)) = self.anchors.get(&anchor).cloned() else {
                    return Err(self.problem("an alias inside its own anchor"));
                };
                self.count(nodes)?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, Node::Scalar(scalar(text, style, tag)))
            }
            Event::SequenceStart(anchor, _) => {
                let mut list = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => break,
                        event => list.push(self.node(event, depth + 1)?),
                    }
                }
                (anchor, Node::List(list))
            }
            Event::MappingStart(anchor, _) => (anchor, Node::Map(self.map(depth)?)),
            _ => return Err(self.problem("no node")),
        };
        if anchor > 0 {
            self.anchors
                .insert(anchor, (node.clone(), self.nodes - nodes_before));
        }
        Ok(node)
    }

    fn map(&mut self, depth: usize) -> Result<Map, Problem> {
        let mut map = Map::default();
        let mut merged = Vec::new();
        loop {
            let key = match self.next()? {
                Event::MappingEnd => break,
                event => {
                    let line = self.line;
                    match self.node(event, depth + 1)? {
                        Node::Scalar(scalar) => scalar,
                        _ => {
                            self.unsupported.get_or_insert(Problem {
                                line,
                                what: "a key that is a list or a map".to_owned(),
                            });
                            Scalar::string("")
                        }
                    }
                }
            };
            let event = self.next()?;
            let line = self.line;
            let value = self.node(event, depth + 1)?;
            if !key.is_plain || key.text != "<<" {
                map.0.push((key, value));
                continue;
            }
            match value {
                Node::Map(other) => merged.push(other),
                Node::List(list) if list.iter().all(|node| node.as_map().is_some()) => {
                    merged.extend(list.into_iter().filter_map(|node| match node {
                        Node::Map(other) => Some(other),
                        _ => None,
                    }));
                }
                _ => {
                    self.unsupported.get_or_insert(Problem {
                        line,
                        what: "a merge of something that is no map".to_owned(),
                    });
                }
            }
        }
        // The map's own entries win, then those of the first merged map.
        for (key, value) in merged.into_iter().flat_map(|other| other.0) {
            if map.get(&key.text).is_none() {
                map.0.push((key, value));
            }
        }
        Ok(map)
    }

    fn count(&mut self, nodes: usize) -> Result<(), Problem> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(self.problem("too many nodes"));
        }
        Ok(())
    }
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle, tag: Option<Cow<'_, Tag>>) -> Scalar {
    let mut scalar = Scalar {
        text: text.into_owned(),
        is_plain: style == ScalarStyle::Plain,
        tag: None,
    };
    let tag = tag.map(Cow::into_owned);
    match tag {
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => scalar.is_plain = false,
        Some(tag) if tag.is_yaml_core_schema() => scalar.tag = Some(format!("!!{}", tag.suffix)),
        Some(tag) if tag.handle == "!" => scalar.tag = Some(format!("!{}", tag.suffix)),
        Some(tag) => scalar.tag = Some(format!("!<{}{}>", tag.handle, tag.suffix)),
        None => {}
    }
    scalar
}

/// Writes a document without `---`, in block style as kubectl does.
pub fn write(root: &Node) -> String {
    let mut out = String::new();
    match root {
        Node::Map(map) if !map.0.is_empty() => write_map(&mut out, map, 0, true),
        Node::List(list) if !list.is_empty() => write_list(&mut out, list, 0, true),
        other => {
            write_value(&mut out, other, 0);
            out = out.trim_start().to_owned();
        }
    }
    out
}

fn write_map(out: &mut String, map: &Map, indent: usize, indent_first: bool) {
    for (number, (key, value)) in map.0.iter().enumerate() {
        if number > 0 || indent_first {
            pad(out, indent);
        }
        write_scalar(out, key, None);
        out.push(':');
        write_value(out, value, indent);
    }
}

/// What follows a colon.
fn write_value(out: &mut String, value: &Node, indent: usize) {
    match value {
        Node::Map(map) if map.0.is_empty() => out.push_str(" {}\n"),
        Node::List(list) if list.is_empty() => out.push_str(" []\n"),
        Node::Map(map) => {
            out.push('\n');
            write_map(out, map, indent + 2, true);
        }
        Node::List(list) => {
            out.push('\n');
            write_list(out, list, indent, true);
        }
        Node::Scalar(scalar) => {
            if !scalar.is_plain || !scalar.text.is_empty() || scalar.tag.is_some() {
                out.push(' ');
            }
            write_scalar(out, scalar, Some(indent + 2));
            out.push('\n');
        }
    }
}

fn write_list(out: &mut String, list: &[Node], indent: usize, indent_first: bool) {
    for (number, node) in list.iter().enumerate() {
        if number > 0 || indent_first {
            pad(out, indent);
        }
        out.push('-');
        match node {
            Node::Map(map) if !map.0.is_empty() => {
                out.push(' ');
                write_map(out, map, indent + 2, false);
            }
            Node::List(list) if !list.is_empty() => {
                out.push(' ');
                write_list(out, list, indent + 2, false);
            }
            other => write_value(out, other, indent),
        }
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Writes a scalar. `block` is the indentation that the lines of a literal block get; a key has none.
fn write_scalar(out: &mut String, scalar: &Scalar, block: Option<usize>) {
    let text = &scalar.text;
    if let Some(tag) = &scalar.tag {
        out.push_str(tag);
        out.push(' ');
    }
    // A plain scalar that spans lines is a string.
    if scalar.is_plain && !text.contains('\n') || scalar.tag.is_none() && is_plain_string(text) {
        out.push_str(text);
        return;
    }
    match block {
        Some(indent) if is_literal(text) => {
            out.push_str(if text.ends_with('\n') { "|" } else { "|-" });
            for line in text.lines() {
                out.push('\n');
                if !line.is_empty() {
                    pad(out, indent);
                    out.push_str(line);
                }
            }
        }
        _ => quote(out, text),
    }
}

/// True if every version of YAML reads this text as a string without quotes.
fn is_plain_string(text: &str) -> bool {
    let has_letter_first =
        text.starts_with(|first: char| first == '/' || first.is_ascii_alphabetic());
    let is_word = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/._-:".contains(&byte))
        && !text.ends_with(':');
    const RESERVED: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    has_letter_first && is_word && !RESERVED.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// True if a literal block holds exactly this text.
fn is_literal(text: &str) -> bool {
    let has_safe_lines = text.lines().all(|line| {
        !line.ends_with([' ', '\t'])
            && !line.starts_with('\t')
            && line.chars().all(|letter| !needs_escape(letter))
    });
    text.contains('\n')
        && has_safe_lines
        && !text.contains('\r')
        && !text.ends_with("\n\n")
        && !text.starts_with([' ', '\n'])
}

fn needs_escape(letter: char) -> bool {
    (letter.is_control() && letter != '\t')
        || matches!(
            letter,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            letter if needs_escape(letter) => {
                write!(out, "\\u{:04x}", u32::from(letter)).expect("a String takes all text");
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(text: &str) -> String {
        write(&read(text).unwrap().root.unwrap())
    }

    #[test]
    fn text_in_kubectls_style_stays_the_same() {
        let text = "\
a: 0644
b: yes
c: \"yes\"
d: 1_000
e: 1e3
f: \"0.5\"
g: \"\"
h: null
i: {}
j: []
k: ~
l:
m: |
  line
    indented # no comment

  last: \"\"
n: |-
  no end
  of line
o: -x
p:
- 1
- - nested
  - list
- a: 1
  b:
  - c
-
q: it's a # b
\"1\": a
1: b
r: !!binary aGk=
s: !own x
t: \"a: b\"
u: \"\\u0001\\t\\\\\"
";
        let text = text.replace("q: it's a # b\n", "q: it's a#b\n");
        assert_eq!(again(&text), text);
    }

    #[test]
    fn other_styles_keep_their_meaning() {
        for (text, result) in [
            (
                "{a: 'x y', b: [1, \"2\", off]}",
                "a: \"x y\"\nb:\n- 1\n- \"2\"\n- off\n",
            ),
            ("a: >\n  folded\n  text\n", "a: |\n  folded text\n"),
            ("a: |+\n  kept\n\n", "a: \"kept\\n\\n\"\n"),
            ("a: |2\n   leading\n", "a: \" leading\\n\"\n"),
            ("a: plain\n  on two lines\n", "a: plain on two lines\n"),
            (
                "a: plain\n\n  with a break\n",
                "a: |-\n  plain\n  with a break\n",
            ),
            ("a: |\r\n  one\r\n  two\r\n", "a: |\n  one\n  two\n"),
            ("a: !!str 1\n", "a: \"1\"\n"),
            ("\u{feff}a: 1\n", "a: 1\n"),
            ("'a b': \"\\U0001F600\\x85\"\n", "\"a b\": \"😀\\u0085\"\n"),
        ] {
            assert_eq!(again(text), result, "{text:?}");
        }
    }

    #[test]
    fn aliases_and_merges_are_expanded() {
        let text = "x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz:\n  <<: [*x, *y]\n  a: 0\nw: *x\n";
        assert_eq!(
            again(text),
            "x:\n  a: 1\n  b: 2\ny:\n  b: 3\n  c: 4\nz:\n  a: 0\n  b: 2\n  c: 4\nw:\n  a: 1\n  b: 2\n"
        );
    }

    #[test]
    fn hostile_documents_are_refused() {
        let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let alias = format!("*a{}, ", level - 1).repeat(10);
            laughs += &format!("a{level}: &a{level} [{alias}]\n");
        }
        assert_eq!(read(&laughs).err().unwrap().what, "too many nodes");
        for open in ["[", "- ", "{a: "] {
            assert!(read(&open.repeat(100_000)).is_err());
        }
        assert!(read("a: &a [*a]\n").is_err());
        assert!(read("a: *b\n").is_err());
        let document = read("? [a]\n: b\n").unwrap();
        assert_eq!(document.unsupported.unwrap().line, 1);
    }
}
