//! Reads dialog-info documents (RFC 4235), apart from segue's own writer.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Elements deeper than this are refused.
const MAX_DEPTH: usize = 16;

/// A dialog-info document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DialogInfo {
    /// `version`.
    pub version: u64,
    /// `full` or `partial`.
    pub state: String,
    /// `entity`.
    pub entity: String,
    /// The dialogs.
    pub dialogs: Vec<DialogEntry>,
}

/// One dialog of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DialogEntry {
    /// `id`.
    pub id: String,
    /// `call-id`.
    pub call_id: Option<String>,
    /// `local-tag`.
    pub local_tag: Option<String>,
    /// `remote-tag`.
    pub remote_tag: Option<String>,
    /// `direction`.
    pub direction: Option<String>,
    /// The text of `state`.
    pub state: String,
    /// The local party.
    pub local: Party,
    /// The remote party.
    pub remote: Party,
    /// The whole element, for what is not in the RFC.
    pub element: Element,
}

/// `local` or `remote`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    /// The address of `identity`.
    pub identity: Option<String>,
    /// Its display name.
    pub display: Option<String>,
    /// The `uri` of `target`.
    pub target: Option<String>,
}

/// An XML element with local names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Its local name.
    pub name: String,
    /// Its attributes.
    pub attributes: Vec<(String, String)>,
    /// Its text, trimmed.
    pub text: String,
    /// Its children.
    pub children: Vec<Element>,
}

impl Element {
    /// The first child `name`.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The attribute `name`.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find_map(|(known, value)| (known == name).then_some(value.as_str()))
    }

    fn open(start: &BytesStart<'_>) -> Result<Self, String> {
        let name = start.local_name().as_ref().to_owned();
        let mut element = Self { name, ..Self::default() };
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|error| error.to_string())?;
            let key = attribute.key.local_name().as_ref().to_owned();
            element.attributes.push((key, entities(&attribute.value)));
        }
        Ok(element)
    }

    /// Reads a document into its root element.
    fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader::from_str(text);
        let mut open: Vec<Self> = vec![Self::default()];
        loop {
            let event = reader.read_event().map_err(|error| error.to_string())?;
            match event {
                Event::Start(start) => open.push(Self::open(&start)?),
                Event::Empty(start) => {
                    let element = Self::open(&start)?;
                    open.last_mut().ok_or("no root")?.children.push(element);
                }
                Event::End(_) => {
                    let element = open.pop().ok_or("no root")?;
                    open.last_mut().ok_or("an end without a start")?.children.push(element);
                }
                Event::Text(text) => {
                    open.last_mut().ok_or("no root")?.text.push_str(text.trim());
                }
                Event::GeneralRef(name) => {
                    let text = entities(&format!("&{};", &*name));
                    open.last_mut().ok_or("no root")?.text.push_str(&text);
                }
                Event::DocType(_) => return Err("a document type".to_owned()),
                Event::Eof => break,
                _ => {}
            }
            if open.len() > MAX_DEPTH {
                return Err("too deep".to_owned());
            }
        }
        match (open.pop(), open.is_empty()) {
            (Some(mut root), true) => root.children.pop().ok_or_else(|| "no element".to_owned()),
            _ => Err("an element was not closed".to_owned()),
        }
    }
}

impl DialogInfo {
    /// Reads a document.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let root = Element::parse(text)?;
        if root.name != "dialog-info" {
            return Err(format!("a {} is no dialog-info", root.name));
        }
        let attribute =
            |name: &str| root.attribute(name).map(str::to_owned).ok_or_else(|| format!("no {name}"));
        Ok(Self {
            version: attribute("version")?.parse().map_err(|_| "version is no number".to_owned())?,
            state: attribute("state")?,
            entity: attribute("entity")?,
            dialogs: root
                .children
                .iter()
                .filter(|child| child.name == "dialog")
                .map(DialogEntry::of)
                .collect(),
        })
    }

    /// The dialogs that are answered.
    pub fn confirmed(&self) -> impl Iterator<Item = &DialogEntry> {
        self.dialogs.iter().filter(|dialog| dialog.state == "confirmed")
    }
}

impl DialogEntry {
    fn of(element: &Element) -> Self {
        let attribute = |name: &str| element.attribute(name).map(str::to_owned);
        let party = |name: &str| element.child(name).map(Party::of).unwrap_or_default();
        Self {
            id: attribute("id").unwrap_or_default(),
            call_id: attribute("call-id"),
            local_tag: attribute("local-tag"),
            remote_tag: attribute("remote-tag"),
            direction: attribute("direction"),
            state: element.child("state").map(|state| state.text.clone()).unwrap_or_default(),
            local: party("local"),
            remote: party("remote"),
            element: element.clone(),
        }
    }

    /// A Replaces header as a phone with a lamp for this dialog builds it: the INVITE goes to the watched party,
    /// so its local tag is our to-tag (RFC 3891 3).
    #[must_use]
    pub fn replaces(&self) -> Option<super::Replaces> {
        Some(super::Replaces {
            call_id: self.call_id.clone()?,
            to_tag: self.local_tag.clone()?,
            from_tag: self.remote_tag.clone()?,
            early_only: false,
        })
    }
}

impl Party {
    fn of(element: &Element) -> Self {
        let identity = element.child("identity");
        Self {
            identity: identity.map(|identity| identity.text.clone()),
            display: identity.and_then(|identity| identity.attribute("display")).map(str::to_owned),
            target: element.child("target").and_then(|target| target.attribute("uri")).map(str::to_owned),
        }
    }
}

/// The five entities of XML.
fn entities(text: &str) -> String {
    let pairs = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    pairs.iter().fold(text.to_owned(), |text, (name, letter)| text.replace(name, letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"<?xml version="1.0"?>
<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="42" state="full" entity="sip:alice@pbx.example">
 <dialog id="m-k3" call-id="m-k3-5f" local-tag="l-7d1" remote-tag="r-7d1" direction="recipient">
  <state>confirmed</state>
  <local><identity display="A &amp; B">sip:alice@pbx.example</identity><target uri="sip:m-k3@pbx.example"/></local>
  <remote><identity>sip:bob@pbx.example</identity></remote>
 </dialog></dialog-info>"#;

    #[test]
    fn the_example_is_read() {
        let info = DialogInfo::parse(DOCUMENT).unwrap();
        assert_eq!(
            (info.version, info.state.as_str(), info.entity.as_str()),
            (42, "full", "sip:alice@pbx.example")
        );
        let dialog = info.confirmed().next().unwrap();
        assert_eq!(dialog.local.display.as_deref(), Some("A & B"));
        assert_eq!(dialog.local.target.as_deref(), Some("sip:m-k3@pbx.example"));
        assert_eq!(dialog.remote.identity.as_deref(), Some("sip:bob@pbx.example"));
        assert_eq!(dialog.replaces().unwrap().to_string(), "m-k3-5f;to-tag=l-7d1;from-tag=r-7d1");
    }

    #[test]
    fn bad_documents_are_refused() {
        for bad in
            ["", "<dialog-info", "<a/>", "<dialog-info version='x' state='full' entity='e'/>", "<a></a></a>"]
        {
            assert!(DialogInfo::parse(bad).is_err(), "{bad}");
        }
        assert!(DialogInfo::parse(&"<a>".repeat(100)).is_err());
        assert!(DialogInfo::parse("<!DOCTYPE x [<!ENTITY a 'b'>]><dialog-info/>").is_err());
    }
}
