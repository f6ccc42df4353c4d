//! A YAML or JSON document as a tree that keeps the text of each scalar.
//!
//! The tree does not decide what a plain scalar means: YAML 1.1 reads `0644`, `yes` and `1_000` differently
//! from YAML 1.2, and Kubernetes uses YAML 1.1. A plain scalar is written as it was read.

use serde_json::Value;

/// A node of a document.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Map),
}

/// A scalar.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    /// The text without quotes.
    pub text: String,
    /// True if the scalar had no quotes: it can be a number, a boolean or null.
    pub is_plain: bool,
    /// An explicit tag, such as `!!binary`.
    pub tag: Option<String>,
}

impl Scalar {
    /// A string, whatever its characters look like.
    pub fn string(text: impl Into<String>) -> Scalar {
        Scalar {
            text: text.into(),
            is_plain: false,
            tag: None,
        }
    }
}

/// A mapping in the order of the document. A key that occurs twice has its last value, as in Kubernetes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map(pub Vec<(Scalar, Node)>);

impl Map {
    pub fn get(&self, key: &str) -> Option<&Node> {
        let mut entries = self.0.iter().rev();
        entries.find(|(name, _)| name.text == key).map(|(_, v)| v)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let mut entries = self.0.iter_mut().rev();
        entries.find(|(name, _)| name.text == key).map(|(_, v)| v)
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_text()
    }

    pub fn list(&self, key: &str) -> &[Node] {
        match self.get(key) {
            Some(Node::List(list)) => list,
            _ => &[],
        }
    }

    /// The map below `key`.
    pub fn map(&self, key: &str) -> Option<&Map> {
        self.get(key)?.as_map()
    }

    pub fn map_mut(&mut self, key: &str) -> Option<&mut Map> {
        match self.get_mut(key) {
            Some(Node::Map(map)) => Some(map),
            _ => None,
        }
    }

    pub fn list_mut(&mut self, key: &str) -> Option<&mut Vec<Node>> {
        match self.get_mut(key) {
            Some(Node::List(list)) => Some(list),
            _ => None,
        }
    }

    /// Sets `key` to `value`, in its old place if the key exists.
    pub fn set(&mut self, key: &str, value: Node) {
        match self.get_mut(key) {
            Some(old) => *old = value,
            None => self.0.push((Scalar::string(key), value)),
        }
    }

    pub fn remove(&mut self, key: &str) {
        self.0.retain(|(name, _)| name.text != key);
    }
}

impl Node {
    pub fn string(text: impl Into<String>) -> Node {
        Node::Scalar(Scalar::string(text))
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Node::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Node::Map(map) => Some(map),
            _ => None,
        }
    }

    pub fn as_map_mut(&mut self) -> Option<&mut Map> {
        match self {
            Node::Map(map) => Some(map),
            _ => None,
        }
    }
}

impl From<Value> for Node {
    fn from(value: Value) -> Node {
        match value {
            Value::String(text) => Node::string(text),
            Value::Array(list) => Node::List(list.into_iter().map(Node::from).collect()),
            Value::Object(map) => Node::Map(Map(map
                .into_iter()
                .map(|(key, value)| (Scalar::string(key), Node::from(value)))
                .collect())),
            other => Node::Scalar(Scalar {
                text: other.to_string(),
                is_plain: true,
                tag: None,
            }),
        }
    }
}

impl From<&Node> for Value {
    /// For JSON output. A plain scalar comes from JSON, too.
    fn from(node: &Node) -> Value {
        match node {
            Node::Scalar(scalar) if scalar.is_plain => serde_json::from_str(&scalar.text)
                .unwrap_or_else(|_| Value::String(scalar.text.clone())),
            Node::Scalar(scalar) => Value::String(scalar.text.clone()),
            Node::List(list) => list.iter().map(Value::from).collect(),
            Node::Map(map) => Value::Object(
                map.0
                    .iter()
                    .map(|(key, value)| (key.text.clone(), Value::from(value)))
                    .collect(),
            ),
        }
    }
}
