//! Places outside the body: which part of a message, and a name in it.
//!
//! What enters: what stands before and behind the colon of `query:subscriber`. What leaves: a
//! door and a name that can occur there. What can never happen: a selector of the body is taken
//! for one of these, since those start with `$`.
//!
//! | written | the value |
//! |---|---|
//! | `query:page` | of this parameter of the query string |
//! | `form:email` | of this field of a form (`application/x-www-form-urlencoded`) |
//! | `path:id` | what `{id}` of the route's path has captured |
//! | `cookie:sid` | of this cookie |
//! | `header:x-subscriber` | the whole value of this header field |
//! | `trailer:x-checksum` | the whole value of this trailer |

use std::fmt;

use super::selector::{Step, write_quoted};
use super::{PolicyError, Rule, RuleId};

/// A part of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Door {
    /// The body, in its format's own structure: `$…`.
    #[default]
    Body,
    Query,
    Form,
    Path,
    Cookie,
    Header,
    Trailer,
}

/// For a text that is no selector at all.
pub(super) const HINT: &str = "write $.name; outside the body query:name, form:name, path:name, cookie:name, header:name or trailer:name";

/// Offset in the name, what is wrong with it, and what to write instead.
type Wrong = (usize, &'static str, Option<&'static str>);

impl Door {
    /// All but the body.
    pub const OUTSIDE: [Self; 6] = [
        Self::Query,
        Self::Form,
        Self::Path,
        Self::Cookie,
        Self::Header,
        Self::Trailer,
    ];

    /// As a selector writes it; `$` for the body.
    pub fn name(self) -> &'static str {
        match self {
            Self::Body => "$",
            Self::Query => "query",
            Self::Form => "form",
            Self::Path => "path",
            Self::Cookie => "cookie",
            Self::Header => "header",
            Self::Trailer => "trailer",
        }
    }

    /// The door that a selector names, and where the name behind it starts.
    pub(super) fn of_selector(text: &str) -> Option<(Self, usize)> {
        let (word, _) = text.split_once(':')?;
        let door = Self::OUTSIDE.into_iter().find(|d| d.name() == word)?;
        Some((door, word.len() + 1))
    }

    /// A name as it is compared at this door; `Err` if it can never occur there.
    pub(super) fn take(self, step: Step) -> Result<Step, Wrong> {
        let named_alone = matches!(self, Self::Header | Self::Trailer);
        let name = match step {
            Step::Child(name) => name,
            _ if named_alone => {
                let message = "fields are named one by one";
                return Err((0, message, Some("write header:x-name")));
            }
            other => return Ok(other),
        };
        let first = |odd: fn(char) -> bool| name.find(odd);
        match self {
            Self::Header | Self::Trailer | Self::Cookie | Self::Path if name.is_empty() => {
                Err((0, "a name is missing", None))
            }
            Self::Header | Self::Trailer | Self::Cookie => match first(|c| !token(c)) {
                Some(at) => Err((at, "this character cannot stand in such a name", None)),
                None if named_alone => Ok(Step::Child(name.to_ascii_lowercase().into())),
                None => Ok(Step::Child(name)),
            },
            Self::Path => match first(|c| matches!(c, '{' | '}' | '/' | '*')) {
                Some(at) => Err((
                    at,
                    "this character cannot stand in the name of a capture",
                    Some("the name alone: path:id for {id} and for {*id}"),
                )),
                None => Ok(Step::Child(name)),
            },
            Self::Body | Self::Query | Self::Form => Ok(Step::Child(name)),
        }
    }

    fn index(self) -> Option<usize> {
        Self::OUTSIDE.iter().position(|door| *door == self)
    }
}

/// RFC 9110, section 5.6.2.
fn token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// The canonical form: quoted only where the bare one would not read back.
pub(super) fn write(f: &mut fmt::Formatter<'_>, door: Door, steps: &[Step]) -> fmt::Result {
    write!(f, "{}:", door.name())?;
    match steps.first() {
        Some(Step::Child(name)) => {
            let odd = |c: char| c.is_whitespace() || c.is_control();
            let quoted = name.is_empty() || &**name == "*" || name.starts_with('[');
            if quoted || name.contains(odd) {
                write_quoted(f, name)
            } else {
                f.write_str(name)
            }
        }
        _ => f.write_str("*"),
    }
}

/// The rules of every door, by name.
#[derive(Clone, Debug, Default)]
pub struct Doors([Table; Door::OUTSIDE.len()]);

#[derive(Clone, Debug, Default)]
struct Table {
    named: Vec<(Box<str>, RuleId)>,
    any: Option<RuleId>,
}

impl Doors {
    /// # Errors
    /// Every rule that can never win.
    pub(super) fn compile(rules: &[Rule]) -> Result<Self, Vec<PolicyError>> {
        let mut doors = Self::default();
        let mut shadowed = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            let Some(at) = rule.at.door.index() else {
                continue;
            };
            let table = &mut doors.0[at];
            let id = RuleId(u16::try_from(index).unwrap_or(u16::MAX));
            let name = match rule.at.steps.first() {
                Some(Step::Child(name)) => Some(name),
                _ => None,
            };
            let same = name.and_then(|n| table.named.iter().find(|(known, _)| known == n));
            if let Some(by) = table.any.or(same.map(|(_, by)| *by)) {
                let by = usize::from(by.0);
                shadowed.push(PolicyError::Shadowed { rule: index, by });
                continue;
            }
            match name {
                Some(name) => table.named.push((name.clone(), id)),
                None => table.any = Some(id),
            }
        }
        if shadowed.is_empty() {
            Ok(doors)
        } else {
            Err(shadowed)
        }
    }

    fn table(&self, door: Door) -> Option<&Table> {
        self.0.get(door.index()?)
    }

    /// Whether any rule is about this door.
    pub fn has(&self, door: Door) -> bool {
        let table = self.table(door);
        table.is_some_and(|t| t.any.is_some() || !t.named.is_empty())
    }

    /// The rule that names this place itself.
    pub fn named(&self, door: Door, name: &[u8]) -> Option<RuleId> {
        let mut named = self.table(door)?.named.iter();
        named
            .find(|(known, _)| known.as_bytes() == name)
            .map(|(_, rule)| *rule)
    }

    /// The rule for whatever no other rule of this door names.
    pub fn any(&self, door: Door) -> Option<RuleId> {
        self.table(door)?.any
    }

    /// The rule for this place: the one that names it, else the one for all of the door.
    pub fn rule(&self, door: Door, name: &[u8]) -> Option<RuleId> {
        self.named(door, name).or_else(|| self.any(door))
    }

    /// Every name that a rule has at this door.
    pub fn names(&self, door: Door) -> impl Iterator<Item = (&str, RuleId)> {
        let named = self.table(door).map_or(&[][..], |t| &t.named);
        named.iter().map(|(name, rule)| (&**name, *rule))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Selector;
    use super::*;

    #[test]
    fn formats_02_every_door_reads_and_prints_its_names() {
        for (text, door, name) in [
            ("query:subscriber", Door::Query, Some("subscriber")),
            ("query:ids[]", Door::Query, Some("ids[]")),
            ("query:a:b", Door::Query, Some("a:b")),
            ("query:['']", Door::Query, Some("")),
            ("query:['a name']", Door::Query, Some("a name")),
            ("query:['*']", Door::Query, Some("*")),
            ("query:*", Door::Query, None),
            ("form:$.x", Door::Form, Some("$.x")),
            ("path:id", Door::Path, Some("id")),
            ("cookie:SID", Door::Cookie, Some("SID")),
            ("header:x-subscriber", Door::Header, Some("x-subscriber")),
            ("trailer:x-sum", Door::Trailer, Some("x-sum")),
        ] {
            let selector = Selector::parse(text).expect(text);
            assert_eq!(selector.door, door, "{text}");
            let step = name.map_or(Step::Wildcard, |name| Step::Child(name.into()));
            assert_eq!(selector.steps, [step], "{text}");
            assert_eq!(selector.to_string(), text);
        }
        let upper = Selector::parse("header:X-Subscriber").expect("any case");
        assert_eq!(upper.to_string(), "header:x-subscriber");
        assert_eq!(Selector::parse("$.a").expect("body").door, Door::Body);
    }

    #[test]
    fn formats_02_faults_stand_at_the_character() {
        for (text, offset) in [
            ("url:x", 0),
            ("query.x", 0),
            ("Query:x", 0),
            ("query:a name", 7),
            ("query:['a", 9),
            ("query:['a']x", 11),
            ("header:", 7),
            ("header:*", 7),
            ("header:a b", 8),
            ("header:a:b", 8),
            ("trailer:*", 8),
            ("cookie:", 7),
            ("cookie:a=b", 8),
            ("path:{id}", 5),
            ("path:['éa{']", 5),
            ("path:", 5),
        ] {
            let error = Selector::parse(text).expect_err(text);
            assert_eq!(error.offset, offset, "{text}: {error}");
        }
    }
}
