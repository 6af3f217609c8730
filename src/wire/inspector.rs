//! Judges a body as its bytes come, and says how much of it may go on.
//!
//! An inspector is pushed the bytes of one body and answers with the *release watermark*: everything before it is
//! checked and may reach the receiver. A body of one datum is released at its end, all at once: a bad one never reaches
//! anybody. A framing of many messages releases each when it is whole and valid; the gate does not know the difference.

use super::coding::Coding;
use super::contract::{Contract, ContractLimits, SchemaSet};
use super::framing::Framing;
use super::reading::Reading;
use super::schemas::{SchemaIndex, Schemas};
use crate::avro::{Fault, FieldPath, Limits, Step, Validator, Violation};
use crate::reason::Reason;
use std::sync::Arc;

/// Judges one body against its contract.
#[derive(Debug)]
pub struct Inspector {
    contract: Arc<Contract>,
    schemas: Arc<Schemas>,
    /// What this sender may send of what the contract accepts; all of it where there is no narrower set.
    sendable: Option<Arc<SchemaSet>>,
    received: u64,
    found: Found,
    state: State,
}

/// What an inspector has learned of a body so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// The content coding that it came in.
    pub coding: Option<Coding>,
    /// How it is framed.
    pub framing: Option<Framing>,
    /// The schema it names.
    pub schema: Option<SchemaIndex>,
}

/// Why a body breaks its contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The row of the reason table.
    pub reason: Reason,
    /// What was found and what the contract wants, for a person. Holds no value of the payload.
    pub detail: Box<str>,
    /// The schema that the body names, where it names one that is published here.
    pub schema: Option<SchemaIndex>,
    /// Where the body is not a datum of its schema; counted from the first byte of the body.
    pub violation: Option<Box<Violation>>,
}

#[derive(Debug)]
enum State {
    /// The bytes that name the schema, as far as they came.
    Prefix { bytes: [u8; PREFIX_MAX], length: usize },
    /// The datum, behind a prefix of so many bytes.
    Datum { validator: Box<Validator>, prefix: u64, whole: bool },
}

/// A single-object prefix: two bytes of marker and eight of fingerprint.
const PREFIX_MAX: usize = 10;
const CONFLUENT_MAGIC: u8 = 0x00;
const SINGLE_OBJECT_MARKER: [u8; 2] = [0xc3, 0x01];

impl Inspector {
    /// An inspector for one body. `sendable` narrows what the contract accepts to what its sender may send.
    #[must_use]
    pub fn new(contract: Arc<Contract>, schemas: Arc<Schemas>, sendable: Option<Arc<SchemaSet>>) -> Self {
        let state = State::Prefix { bytes: [0; PREFIX_MAX], length: 0 };
        Self { contract, schemas, sendable, received: 0, found: Found::default(), state }
    }

    /// Takes the next bytes; the answer is the watermark, in bytes from the start of the body.
    ///
    /// # Errors
    /// As soon as no continuation can keep the contract. Nothing may be pushed after that.
    pub fn push(&mut self, bytes: &[u8]) -> Result<u64, Refused> {
        self.take(bytes).map_err(|refused| Refused { schema: self.found.schema, ..refused })?;
        Ok(0)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let most = self.contract.limits.body_bytes_max;
        let room = usize::try_from(most - self.received).unwrap_or(usize::MAX);
        let allowed = bytes.get(..room).unwrap_or(bytes);
        self.received += allowed.len() as u64;
        self.judge(allowed)?;
        if allowed.len() < bytes.len() {
            return Err(Refused::new(Reason::BodyTooLarge, format!("more than {most} bytes")));
        }
        Ok(())
    }

    fn judge(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let datum = match &mut self.state {
            State::Prefix { .. } => self.take_prefix(bytes)?,
            State::Datum { .. } => bytes,
        };
        if let State::Datum { validator, prefix, whole } = &mut self.state {
            let consumed = if *whole {
                0
            } else {
                match validator.push(datum).map_err(|violation| Refused::datum(violation, *prefix))? {
                    Step::NeedMore => datum.len(),
                    Step::Done { consumed } => {
                        *whole = true;
                        consumed
                    }
                }
            };
            if consumed < datum.len() {
                let offset = self.received - (datum.len() - consumed) as u64;
                return Err(Refused::fault(Fault::TrailingBytes, offset, "the datum is whole and bytes follow it"));
            }
        }
        Ok(())
    }

    /// Says that the body ends here; the answer is its length: all of it may go.
    ///
    /// # Errors
    /// Where what came is not all that the contract wants.
    pub fn finish(&mut self) -> Result<u64, Refused> {
        self.take(&[]).and_then(|()| self.end()).map_err(|refused| Refused { schema: self.found.schema, ..refused })?;
        Ok(self.received)
    }

    fn end(&mut self) -> Result<(), Refused> {
        match &mut self.state {
            State::Prefix { .. } => {
                let detail = match (self.received, self.found.framing) {
                    (0, _) => format!("the body is empty; the contract wants {}", self.wanted()),
                    (_, Some(framing)) => format!("the body ends inside the {} prefix", framing.word()),
                    (_, None) => format!("the body ends inside its prefix; the contract wants {}", self.wanted()),
                };
                Err(Refused::fault(Fault::Truncated, self.received, &detail))
            }
            State::Datum { validator, prefix, .. } => {
                validator.finish().map_err(|violation| Refused::datum(violation, *prefix))
            }
        }
    }

    /// What is known of the body so far.
    #[must_use]
    pub fn found(&self) -> Found {
        self.found
    }

    /// What the contract lets a body cost.
    #[must_use]
    pub(super) fn limits(&self) -> &ContractLimits {
        &self.contract.limits
    }

    /// Takes what belongs to the prefix, and begins the datum once the schema is known. What is left is the datum's.
    fn take_prefix<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Refused> {
        if self.contract.framings.is_bare() {
            self.found.framing = Some(Framing::Bare);
            let schema = self.contract.schemas.as_slice().to_vec();
            self.begin(&schema, 0, "the contract's schema")?;
            return Ok(bytes);
        }
        let State::Prefix { bytes: mut prefix, mut length } = self.state else { return Ok(bytes) };
        let mut rest = bytes;
        while let Some((byte, behind)) = rest.split_first() {
            if let Some(place) = prefix.get_mut(length) {
                *place = *byte;
            }
            length += 1;
            rest = behind;
            match (length, prefix) {
                (1, [CONFLUENT_MAGIC, ..]) if self.contract.framings.contains(Framing::Confluent) => {
                    self.found.framing = Some(Framing::Confluent);
                }
                (1, [first, ..])
                    if first == SINGLE_OBJECT_MARKER[0] && self.contract.framings.contains(Framing::SingleObject) => {}
                (2, [first, second, ..]) if [first, second] == SINGLE_OBJECT_MARKER => {
                    self.found.framing = Some(Framing::SingleObject);
                }
                (1, _) => return Err(self.wrong_framing()),
                (2, _) if self.found.framing.is_none() => return Err(self.wrong_framing()),
                (5, [_, a, b, c, d, ..]) if self.found.framing == Some(Framing::Confluent) => {
                    let id = u32::from_be_bytes([a, b, c, d]);
                    let schemas = self.schemas.clone();
                    self.begin(schemas.by_id(id), 5, &format!("schema id {id}"))?;
                    return Ok(rest);
                }
                (PREFIX_MAX, [_, _, fingerprint @ ..]) => {
                    let fingerprint = u64::from_le_bytes(fingerprint);
                    let schemas = self.schemas.clone();
                    let named = format!("schema fingerprint {fingerprint:016x}");
                    self.begin(schemas.by_fingerprint(fingerprint), PREFIX_MAX as u64, &named)?;
                    return Ok(rest);
                }
                _ => {}
            }
        }
        self.state = State::Prefix { bytes: prefix, length };
        Ok(rest)
    }

    /// Begins the datum with the first of the named schemas that both contract and sender allow.
    fn begin(&mut self, named: &[SchemaIndex], prefix: u64, name: &str) -> Result<(), Refused> {
        let Some(first) = named.first() else {
            return Err(Refused::new(Reason::SchemaUnknown, format!("{name} is not published here")));
        };
        let accepted = |index: &&SchemaIndex| self.contract.schemas.contains(**index);
        let sendable = |index: &&SchemaIndex| self.sendable.as_ref().is_none_or(|set| set.contains(**index));
        let chosen = named.iter().filter(accepted).find(sendable);
        self.found.schema = Some(*chosen.unwrap_or(first));
        let Some(chosen) = chosen else {
            let published = self.schemas.get(*first);
            let whose = if named.iter().any(|index| accepted(&index)) {
                "which this caller may not send"
            } else {
                "which this route does not accept"
            };
            let detail = format!("{name} is {} version {}, {whose}", published.subject, published.version);
            return Err(Refused::new(Reason::SchemaNotAllowed, detail));
        };
        let published = self.schemas.get(*chosen);
        let program = match self.contract.readings.get(*chosen) {
            None => published.program.clone(),
            Some((_, Reading::Program(program))) => program.clone(),
            Some((reader, Reading::Never(why))) => {
                let (subject, version, why) = (&published.subject, published.version, why.summary());
                let detail = format!("{name} is {subject} version {version}, which {reader} can never read: {why}");
                return Err(Refused::new(Reason::SchemaIncompatible, detail));
            }
        };
        // The body's own limit, which has its own reason, bounds the datum's bytes.
        let limits = Limits { bytes_max: u64::MAX, ..self.contract.limits.datum };
        let validator = Box::new(Validator::new(program, limits));
        self.state = State::Datum { validator, prefix, whole: false };
        Ok(())
    }

    fn wrong_framing(&self) -> Refused {
        Refused::new(
            Reason::FramingInvalid,
            format!("the body does not begin as the contract wants: {}", self.wanted()),
        )
    }

    fn wanted(&self) -> String {
        let framings: Vec<_> = Framing::ALL
            .into_iter()
            .filter(|framing| self.contract.framings.contains(*framing))
            .map(|framing| format!("{} ({})", framing.word(), framing.shape()))
            .collect();
        framings.join(" or ")
    }
}

impl Refused {
    /// A refusal that concerns the body as a whole.
    #[must_use]
    pub fn new(reason: Reason, detail: String) -> Self {
        Self { reason, detail: detail.into(), schema: None, violation: None }
    }

    /// A datum's violation, counted from the start of the body.
    fn datum(mut violation: Violation, prefix: u64) -> Self {
        violation.offset += prefix;
        Self {
            reason: Reason::DatumInvalid,
            detail: violation.to_string().into(),
            schema: None,
            violation: Some(Box::new(violation)),
        }
    }

    fn fault(fault: Fault, offset: u64, detail: &str) -> Self {
        Self::datum(Violation { fault, offset, path: FieldPath::default(), detail: detail.into() }, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::avro::Schema;
    use crate::wire::coding::CodingSet;
    use crate::wire::contract::OnInvalid;
    use crate::wire::framing::FramingSet;
    use crate::wire::programs::Programs;
    use crate::wire::reading::Readings;
    use crate::wire::schemas::PublishedSchema;

    const PAIR: &str = r#"{"type":"record","name":"Pair","fields":[
        {"name":"name","type":"string"},{"name":"flag","type":"boolean"}]}"#;
    const CONFLUENT: &[Framing] = &[Framing::Confluent];
    const SINGLE: &[Framing] = &[Framing::SingleObject];
    const BOTH: &[Framing] = &[Framing::Confluent, Framing::SingleObject];
    const BARE: &[Framing] = &[Framing::Bare];

    /// Under id 7 one schema in two subjects, under id 8 another one; the fingerprint of id 7 is that of `later`, too,
    /// whose text differs in its documentation.
    fn schemas() -> Arc<Schemas> {
        let later = PAIR.replace("\"name\":\"Pair\"", "\"name\":\"Pair\",\"doc\":\"of two\"");
        let published = [("a", 1, 7, PAIR), ("b", 1, 7, PAIR), ("c", 1, 8, r#""long""#), ("later", 1, 9, &later)];
        let published = published.map(|(subject, version, id, text)| {
            let schema = Arc::new(Schema::parse(text).expect(text));
            PublishedSchema::new(subject, version, vec![id], schema, &Programs::default())
        });
        Arc::new(Schemas::new(published.into()).expect("one schema for each id"))
    }

    fn set(schemas: &Schemas, subjects: &str) -> SchemaSet {
        schemas.iter().filter(|(_, one)| subjects.split(' ').any(|it| it == &*one.subject)).map(|(at, _)| at).collect()
    }

    /// The length of a body that passed, or why it did not: its reason, and the byte where it is not a datum.
    type Outcome = Result<u64, (Reason, Option<(Fault, u64)>)>;
    /// And the subject that it was taken for.
    type Answer = (Outcome, Option<Arc<str>>);

    struct Case<'a> {
        framings: &'a [Framing],
        accepted: &'a str,
        sendable: Option<&'a str>,
        bytes_max: u64,
    }

    impl Case<'_> {
        fn inspector(&self, schemas: &Arc<Schemas>) -> Inspector {
            // The body's limit alone bounds the bytes of its datum.
            let datum = Limits { bytes_max: 0, ..Limits::default() };
            let contract = Contract {
                framings: FramingSet::new(self.framings).expect("framings that go together"),
                schemas: set(schemas, self.accepted),
                readings: Readings::default(),
                codings: CodingSet::default(),
                limits: ContractLimits { body_bytes_max: self.bytes_max, datum, ..ContractLimits::default() },
                on_invalid: OnInvalid::Reject,
            };
            let sendable = self.sendable.map(|subjects| Arc::new(set(schemas, subjects)));
            Inspector::new(Arc::new(contract), schemas.clone(), sendable)
        }

        fn answer(&self, schemas: &Arc<Schemas>, body: &[u8], chunk: usize) -> Answer {
            let mut inspector = self.inspector(schemas);
            let mut pushed = Ok(0);
            for bytes in body.chunks(chunk) {
                pushed = inspector.push(bytes);
                match &pushed {
                    Ok(watermark) => assert_eq!(*watermark, 0, "one datum is released at its end"),
                    Err(_) => break,
                }
            }
            let result = pushed.and_then(|_| inspector.finish());
            let subject = |index| schemas.get(index).subject.clone();
            let found = inspector.found().schema;
            if let Err(refused) = &result {
                assert_eq!(refused.schema, found, "{refused:?}");
            }
            let refused = |refused: Refused| {
                (refused.reason, refused.violation.map(|violation| (violation.fault, violation.offset)))
            };
            (result.map_err(refused), found.map(subject))
        }

        /// Asks for the answer at every size of chunks.
        fn check(&self, body: &[u8], expected: Outcome, subject: Option<&str>) {
            let schemas = schemas();
            let expected = (expected, subject.map(Arc::from));
            for chunk in 1..=body.len().max(1) {
                assert_eq!(self.answer(&schemas, body, chunk), expected, "{body:02x?} in chunks of {chunk}");
            }
        }
    }

    /// What the contract accepts; everything may be sent.
    fn accepting<'a>(framings: &'a [Framing], accepted: &'a str) -> Case<'a> {
        Case { framings, accepted, sendable: None, bytes_max: 1000 }
    }

    /// A datum of the pair behind a prefix that names it.
    fn pair(framing: Framing) -> Vec<u8> {
        let fingerprint = Schema::parse(PAIR).expect(PAIR).fingerprint();
        let prefix = match framing {
            Framing::Confluent => vec![0, 0, 0, 0, 7],
            Framing::SingleObject => [&[0xc3, 0x01], &fingerprint.to_le_bytes()[..]].concat(),
            Framing::Bare => vec![],
        };
        assert_eq!(prefix.len(), framing.prefix_len());
        [prefix, b"\x04hi\x01".to_vec()].concat()
    }

    fn datum(fault: Fault, offset: u64) -> (Reason, Option<(Fault, u64)>) {
        (Reason::DatumInvalid, Some((fault, offset)))
    }

    #[test]
    fn a_body_passes_whole_in_each_framing_that_the_contract_accepts() {
        for framing in Framing::ALL {
            for framings in [CONFLUENT, SINGLE, BOTH, BARE] {
                let body = pair(framing);
                let accepted = framings.contains(&framing);
                if accepted {
                    accepting(framings, "a").check(&body, Ok(body.len() as u64), Some("a"));
                } else if framings != BARE && framing != Framing::Bare {
                    accepting(framings, "a").check(&body, Err((Reason::FramingInvalid, None)), None);
                }
            }
        }
    }

    #[test]
    fn a_body_cut_anywhere_is_truncated_where_it_ends() {
        for framing in Framing::ALL {
            let body = pair(framing);
            for cut in 0..body.len() {
                let subject = (cut >= framing.prefix_len()).then_some("a");
                let expected = Err(datum(Fault::Truncated, cut as u64));
                accepting(&[framing], "a").check(&body[..cut], expected, subject);
                if framing != Framing::Bare {
                    accepting(BOTH, "a").check(&body[..cut], expected, subject);
                }
            }
        }
    }

    #[test]
    fn offsets_count_from_the_first_byte_of_the_body() {
        for framing in Framing::ALL {
            let prefix = framing.prefix_len();
            let mut body = pair(framing);
            body[prefix + 3] = 2;
            let at = prefix as u64 + 3;
            accepting(&[framing], "a").check(&body, Err(datum(Fault::BooleanInvalid, at)), Some("a"));
        }
    }

    #[test]
    fn nothing_follows_the_datum() {
        for framing in Framing::ALL {
            let mut body = pair(framing);
            let end = body.len() as u64;
            body.extend([0, 0]);
            // In chunks of one byte the datum is whole before the push that is one too many.
            accepting(&[framing], "a").check(&body, Err(datum(Fault::TrailingBytes, end)), Some("a"));
        }
    }

    #[test]
    fn a_prefix_that_the_contract_does_not_accept_is_refused_at_its_first_wrong_byte() {
        let cases: [(&[Framing], &[u8]); 7] = [
            (CONFLUENT, b"\x01"),
            (CONFLUENT, b"\xc3\x01"),
            (SINGLE, b"\x00\x00\x00\x00\x07"),
            (SINGLE, b"\xc3\x00"),
            (BOTH, b"\x04hi\x01"),
            (BOTH, b"\xc3\x02"),
            (BOTH, b"\x01\x00\x00\x00\x07"),
        ];
        for (framings, body) in cases {
            accepting(framings, "a").check(body, Err((Reason::FramingInvalid, None)), None);
        }
    }

    #[test]
    fn the_schema_must_be_known_accepted_and_sendable() {
        use Reason::{SchemaNotAllowed, SchemaUnknown};
        let refused = |reason| Err((reason, None));
        let unknown = [&[0xc3, 0x01][..], &[0; 8], b"\x04hi\x01"].concat();
        let (seven, single) = (pair(Framing::Confluent), pair(Framing::SingleObject));
        type Row<'a> = (&'a str, Option<&'a str>, &'a [u8], Outcome, Option<&'a str>);
        let cases: [Row<'_>; 14] = [
            ("a", None, b"\x00\x00\x00\x00\x06\x02", refused(SchemaUnknown), None),
            ("a", None, &unknown, refused(SchemaUnknown), None),
            ("a", None, b"\x00\x00\x00\x00\x08\x02", refused(SchemaNotAllowed), Some("c")),
            ("c", None, b"\x00\x00\x00\x00\x08\x02", Ok(6), Some("c")),
            ("c", Some("a"), b"\x00\x00\x00\x00\x08\x02", refused(SchemaNotAllowed), Some("c")),
            ("", None, &seven, refused(SchemaNotAllowed), Some("a")),
            // One id in two subjects: the one that is accepted, and may be sent.
            ("a", None, &seven, Ok(9), Some("a")),
            ("b", None, &seven, Ok(9), Some("b")),
            ("a b", None, &seven, Ok(9), Some("a")),
            ("a b", Some("b"), &seven, Ok(9), Some("b")),
            ("a", Some("b"), &seven, refused(SchemaNotAllowed), Some("a")),
            // One fingerprint in three subjects.
            ("later", None, &single, Ok(14), Some("later")),
            ("a later", Some("later"), &single, Ok(14), Some("later")),
            ("c", None, &single, refused(SchemaNotAllowed), Some("a")),
        ];
        for (accepted, sendable, body, expected, subject) in cases {
            Case { framings: BOTH, accepted, sendable, bytes_max: 1000 }.check(body, expected, subject);
        }
    }

    #[test]
    fn what_a_caller_may_not_send_is_told_from_what_the_route_does_not_accept() {
        let schemas = schemas();
        let cases = [
            ("a", Some("b"), "schema id 7 is a version 1, which this caller may not send"),
            ("c", None, "schema id 7 is a version 1, which this route does not accept"),
        ];
        for (accepted, sendable, detail) in cases {
            let case = Case { framings: CONFLUENT, accepted, sendable, bytes_max: 1000 };
            let refused = case.inspector(&schemas).push(&pair(Framing::Confluent)).expect_err(detail);
            assert_eq!(&*refused.detail, detail);
        }
    }

    #[test]
    fn a_body_may_be_as_long_as_the_limit_and_no_longer() {
        for framing in Framing::ALL {
            let body = pair(framing);
            let length = body.len() as u64;
            let framings = if framing == Framing::Bare { BARE } else { BOTH };
            let within = |bytes_max| Case { bytes_max, ..accepting(framings, "a") };
            within(length).check(&body, Ok(length), Some("a"));
            within(length - 1).check(&body, Err((Reason::BodyTooLarge, None)), Some("a"));
            // What lies within the limit is judged first: any chunking, the same answer.
            let longer = [&body[..], b"\x00"].concat();
            within(length).check(&longer, Err((Reason::BodyTooLarge, None)), Some("a"));
            within(length + 1).check(&longer, Err(datum(Fault::TrailingBytes, length)), Some("a"));
        }
        let none = Case { bytes_max: 0, ..accepting(BOTH, "a") };
        none.check(b"", Err(datum(Fault::Truncated, 0)), None);
        none.check(b"\x00", Err((Reason::BodyTooLarge, None)), None);
    }

    #[test]
    fn an_empty_body_is_a_datum_where_the_schema_has_no_bytes() {
        let schema = Arc::new(Schema::parse(r#""null""#).expect("null"));
        let published = PublishedSchema::new("null", 1, vec![1], schema, &Programs::default());
        let schemas = Arc::new(Schemas::new(vec![published]).expect("one schema"));
        let cases: [(&[Framing], &[u8], Outcome); 4] = [
            (BARE, b"", Ok(0)),
            (BARE, b"\x00", Err(datum(Fault::TrailingBytes, 0))),
            (CONFLUENT, b"\x00\x00\x00\x00\x01", Ok(5)),
            (CONFLUENT, b"", Err(datum(Fault::Truncated, 0))),
        ];
        for (framings, body, expected) in cases {
            assert_eq!(accepting(framings, "null").answer(&schemas, body, 1).0, expected, "{body:?}");
        }
    }
}
