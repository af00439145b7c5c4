//! What stands in the user's document: as it is to be written, and as it was read.
//!
//! Decides the document's format; must not know how it is fetched. Values stay in wiped memory both
//! ways, so neither direction goes through a JSON tree.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::driver::target::Order;
use crate::driver::target::vault_kv::Fields;
use crate::model::id::{Generation, VersionId};
use crate::model::material::{Material, SecretBytes, VALUE_LEN_MIN};
use crate::model::time::Timestamp;

// ---------------------------------------------------------------- to be written

/// Our fields as the order wants them: the whole of a new document, or a merge patch that leaves
/// every other field alone.
pub(super) struct Projection<'a> {
    pub(super) fields: &'a Fields,
    pub(super) order: &'a Order<'a>,
    /// The first KV version that may hold a value of ours.
    pub(super) since: u64,
    /// The moment `current` changes; absent if it stays as it is.
    pub(super) rotated_at: Option<Timestamp>,
}

impl Projection<'_> {
    fn material(&self, version: VersionId) -> Option<Value<'_>> {
        self.order.given.get(&version).map(|given| Value(given.material))
    }
}

impl Serialize for Projection<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Projection { fields, order, .. } = self;
        let wanted = order.wanted;
        let previous = previous_of(&wanted.accepted, wanted.current);
        let accepted: Vec<Value<'_>> =
            wanted.accepted.iter().filter_map(|version| self.material(*version)).collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(&fields.current, &wanted.current.and_then(|v| self.material(v)))?;
        map.serialize_entry(&fields.previous, &previous.and_then(|v| self.material(v)))?;
        map.serialize_entry(&fields.accepted, &accepted)?;
        map.serialize_entry(&fields.current_version, &wanted.current)?;
        map.serialize_entry(&fields.accepted_versions, &wanted.accepted)?;
        if let Some(at) = self.rotated_at {
            map.serialize_entry(&fields.rotated_at, &at)?;
        }
        map.serialize_entry(&fields.generation, &wanted.generation)?;
        map.serialize_entry(&fields.rotation, order.rotation)?;
        map.serialize_entry(&fields.marker, &Marker { secret: order.secret, since: self.since })?;
        map.end()
    }
}

/// The newest accepted version that is older than the one in use.
fn previous_of(accepted: &[VersionId], current: Option<VersionId>) -> Option<VersionId> {
    accepted.iter().copied().filter(|version| Some(*version) < current).max()
}

#[derive(serde::Serialize)]
struct Marker<'a> {
    secret: &'a crate::model::id::SecretName,
    since: u64,
}

/// One version: its value as text if it has a single field, else an object of its fields.
struct Value<'a>(&'a Material);

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(only) = only_field(self.0) {
            return serializer.serialize_str(only.expose_str().unwrap_or_default());
        }
        let texts = self.0.fields().map(|(name, bytes)| (name, bytes.expose_str()));
        serializer.collect_map(texts)
    }
}

fn only_field(material: &Material) -> Option<&SecretBytes> {
    let mut fields = material.fields();
    match (fields.next(), fields.next()) {
        (Some((_, only)), None) => Some(only),
        _ => None,
    }
}

// ---------------------------------------------------------------- as it was read

/// Any JSON, with every text in wiped memory.
pub(super) enum Node {
    Text(SecretBytes),
    Number(u64),
    List(Vec<Node>),
    Map(BTreeMap<String, Node>),
    /// Null, a boolean, a number that is no count: nothing that we write or look for.
    Other,
}

impl Node {
    /// Whether some text in it holds one of the material's fields, ids too short to be secret left
    /// aside.
    pub(super) fn mentions(&self, material: &Material) -> bool {
        match self {
            Node::Text(text) => material.fields().any(|(_, bytes)| {
                let value = bytes.expose();
                value.len() >= VALUE_LEN_MIN
                    && text.expose().windows(value.len()).any(|window| window == value)
            }),
            Node::List(nodes) => nodes.iter().any(|node| node.mentions(material)),
            Node::Map(nodes) => nodes.values().any(|node| node.mentions(material)),
            Node::Number(_) | Node::Other => false,
        }
    }

    /// Whether it is this material as [`Value`] writes it; compared in constant time.
    fn is(&self, material: &Material) -> bool {
        match (self, only_field(material)) {
            (Node::Text(text), Some(only)) => text.same(only),
            (Node::Map(nodes), None) => {
                let same = material.fields().all(|(name, bytes)| {
                    matches!(nodes.get(name), Some(Node::Text(text)) if text.same(bytes))
                });
                same && nodes.len() == material.fields().count()
            }
            _ => false,
        }
    }

    fn number(&self) -> Option<u64> {
        match self {
            Node::Number(number) => Some(*number),
            _ => None,
        }
    }

    fn list(&self) -> &[Node] {
        match self {
            Node::List(nodes) => nodes,
            _ => &[],
        }
    }

    fn get(&self, name: &str) -> Option<&Node> {
        match self {
            Node::Map(nodes) => nodes.get(name),
            _ => None,
        }
    }
}

/// A document as it was read, seen through the names of our fields.
pub(super) struct Content<'a> {
    pub(super) fields: &'a Fields,
    pub(super) root: Node,
}

/// Who a document belongs to.
pub(super) enum Owner {
    /// None of our fields is there.
    Nobody,
    /// We wrote it for this secret.
    Rotord { secret: String, since: u64 },
    /// Our fields hold something that we did not write.
    Somebody,
}

impl Content<'_> {
    /// Whose fields these are.
    pub(super) fn owner(&self) -> Owner {
        let marker = self.get(&self.fields.marker);
        let secret = marker.and_then(|marker| match marker.get("secret") {
            Some(Node::Text(text)) => text.expose_str(),
            _ => None,
        });
        let since = marker.and_then(|marker| marker.get("since")).and_then(Node::number);
        match (secret, since) {
            (Some(secret), Some(since)) => Owner::Rotord { secret: secret.to_owned(), since },
            _ if self.fields.names().iter().any(|name| self.get(name).is_some()) => Owner::Somebody,
            _ => Owner::Nobody,
        }
    }

    /// Whether nothing in our fields would be lost if we wrote this order: all they hold is values
    /// that the order holds too.
    pub(super) fn is_known_to(&self, order: &Order<'_>) -> bool {
        let known = |node: &Node| order.given.values().any(|given| node.is(given.material));
        let fields = self.fields;
        self.fields.names().iter().all(|name| match self.get(name) {
            None => true,
            Some(node) if **name == fields.accepted => node.list().iter().all(known),
            Some(node) if **name == fields.current || **name == fields.previous => known(node),
            Some(_) => false,
        })
    }

    /// The generation it was written with.
    pub(super) fn generation(&self) -> Generation {
        let number = self.get(&self.fields.generation).and_then(Node::number);
        Generation(number.unwrap_or_default())
    }

    /// The versions it says it accepts.
    pub(super) fn listed(&self) -> Vec<VersionId> {
        let list = self.get(&self.fields.accepted_versions).map(Node::list).unwrap_or_default();
        list.iter().filter_map(Node::number).map(VersionId).collect()
    }

    /// The version it says is in use.
    pub(super) fn listed_current(&self) -> Option<VersionId> {
        self.get(&self.fields.current_version).and_then(Node::number).map(VersionId)
    }

    /// The versions that it truly holds: listed, and wherever their value must stand it does. A
    /// version whose value the order does not give cannot be compared and is believed.
    pub(super) fn held(&self, order: &Order<'_>) -> Vec<VersionId> {
        let listed = self.listed();
        let values = self.get(&self.fields.accepted).map(Node::list).unwrap_or_default();
        if values.len() != listed.len() {
            return Vec::new(); // more or fewer values than numbers: somebody changed the list
        }
        let current = self.listed_current();
        let previous = previous_of(&listed, current);
        let is = |node: Option<&Node>, version: VersionId| match order.given.get(&version) {
            Some(given) => node.is_some_and(|node| node.is(given.material)),
            None => node.is_some(),
        };
        let whole = |(version, value): &(VersionId, &Node)| {
            let in_use = Some(*version) != current || is(self.get(&self.fields.current), *version);
            let before =
                Some(*version) != previous || is(self.get(&self.fields.previous), *version);
            is(Some(value), *version) && in_use && before
        };
        let whole = listed.iter().copied().zip(values).filter(whole);
        let mut held: Vec<VersionId> = whole.map(|(version, _)| version).collect();
        held.dedup();
        held
    }

    fn get(&self, name: &str) -> Option<&Node> {
        self.root.get(name)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(SecretBytes::new(text.as_bytes().to_vec())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = seq.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut nodes = BTreeMap::new();
        while let Some((name, node)) = map.next_entry()? {
            nodes.insert(name, node);
        }
        Ok(Node::Map(nodes))
    }
}
