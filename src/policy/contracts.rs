//! The contracts of a document's bodies, resolved.

use super::compile::Compiler;
use super::document::{Codings, ContractEntry, Framings, Limits, OnInvalid, Readers, ResponseEntry, Selector};
use crate::finding::Finding;
use crate::units::ByteSize;
use crate::wire::{Coding, CodingSet, Contract, ContractLimits, Framing, FramingSet, PublishedSchema, SchemaSet};
use crate::yaml::Spanned;
use std::sync::Arc;

/// Records, arrays and maps inside each other that a contract may ask to be judged.
const DEPTH_MAX: u32 = 1024;

/// What a document says of one body.
pub(super) struct Wanted<'d> {
    pub(super) framing: &'d Framings,
    pub(super) schemas: &'d Spanned<Selector>,
    pub(super) reader: Option<&'d Readers>,
    pub(super) codings: Option<&'d Codings>,
    pub(super) limits: Option<&'d Limits>,
    pub(super) on_invalid: Option<OnInvalid>,
}

impl<'d> From<&'d ResponseEntry> for Wanted<'d> {
    fn from(entry: &'d ResponseEntry) -> Self {
        let ResponseEntry { framing, schemas, reader, limits, on_invalid, errors: _ } = entry;
        let (reader, limits, on_invalid) = (reader.as_ref(), limits.as_ref(), *on_invalid);
        Self { framing, schemas, reader, codings: None, limits, on_invalid }
    }
}

impl<'d> From<&'d ContractEntry> for Wanted<'d> {
    fn from(entry: &'d ContractEntry) -> Self {
        let ContractEntry { framing, schemas, reader, limits, on_invalid } = entry;
        let (reader, limits, on_invalid) = (reader.as_ref(), limits.as_ref(), *on_invalid);
        Self { framing, schemas, reader, codings: None, limits, on_invalid }
    }
}

impl Compiler<'_> {
    pub(super) fn contract(&mut self, file: &Arc<str>, wanted: &Wanted<'_>) -> Arc<Contract> {
        let Wanted { framing, schemas: selector, reader, codings, limits, on_invalid } = *wanted;
        let wanted: Vec<Framing> = framing.value.iter().copied().map(Framing::from).collect();
        let framings = FramingSet::new(&wanted).unwrap_or_else(|| {
            let message = "expected at least one framing, and `Bare` alone: a bare datum may begin with any byte";
            self.findings.push(Finding::error("framing-invalid", file, framing, message));
            FramingSet::BARE
        });
        let (schemas, findings) = self.catalogue.select(file, selector);
        let resolved = !findings.iter().any(Finding::is_error);
        self.findings.extend(findings);
        if resolved && wanted == [Framing::Bare] && schemas.as_slice().len() != 1 {
            let finding = Finding::error(
                "bare-schemas",
                file,
                selector,
                format!("a bare datum does not name its schema, and these are {}", schemas.as_slice().len()),
            );
            self.findings.push(finding.help("select exactly one version of one subject"));
        }
        if wanted.contains(&Framing::Confluent) {
            self.without_id(file, selector, &schemas, wanted.len() > 1);
        }
        let readings = reader.map(|reader| self.readings(file, reader, &schemas)).unwrap_or_default();
        let codings = self.codings(file, codings);
        let limits = self.limits(file, limits, codings);
        let on_invalid = on_invalid.map(Into::into).unwrap_or_default();
        Arc::new(Contract { framings, schemas, readings, codings, limits, on_invalid })
    }

    /// Schemas that no body of a Confluent framing can name. Where another framing can name them, only if there are no
    /// others.
    fn without_id(
        &mut self,
        file: &Arc<str>,
        selector: &Spanned<Selector>,
        schemas: &SchemaSet,
        or_named_otherwise: bool,
    ) {
        let published = schemas.as_slice().iter().map(|index| self.catalogue.get(*index));
        let nameless = |published: &&PublishedSchema| published.ids.is_empty();
        let nameless: Vec<_> =
            published.filter(nameless).map(|one| format!("{} version {}", one.subject, one.version)).collect();
        if !nameless.is_empty() && (!or_named_otherwise || nameless.len() == schemas.as_slice().len()) {
            let message = format!("no Confluent body can name a schema without registry id: {}", nameless.join(", "));
            let finding = Finding::warning("schema-nameless", file, selector, message);
            self.findings.push(finding.help("give its `ids` in the catalogue"));
        }
    }

    fn codings(&mut self, file: &Arc<str>, codings: Option<&Codings>) -> CodingSet {
        let Some(codings) = codings else { return CodingSet::default() };
        let taken: Vec<Coding> = codings.value.iter().copied().map(Coding::from).collect();
        if taken.is_empty() {
            let finding = Finding::error("codings-empty", file, codings, "expected at least one content coding");
            self.findings.push(finding.help("leave `contentCodings` out where bodies come without one"));
        }
        CodingSet::new(&taken)
    }

    fn limits(&mut self, file: &Arc<str>, limits: Option<&Limits>, codings: CodingSet) -> ContractLimits {
        let mut all = self.settings.limits;
        if let Some(limits) = limits {
            if let Some(depth) = limits.max_depth.as_ref().filter(|depth| depth.value > DEPTH_MAX) {
                let message = format!("expected at most {DEPTH_MAX}");
                self.findings.push(Finding::error("limit-invalid", file, depth, message));
            }
            if let Some(size) = &limits.max_body_bytes {
                all.body_bytes_max = size.value.bytes();
                let held = self.settings.held_bytes_max;
                if size.value.bytes() > held {
                    let message = format!("larger than the {} that the process holds", ByteSize::new(held));
                    let finding = Finding::error("limit-invalid", file, size, message);
                    self.findings.push(finding.help("raise `limits.heldBytes` of the sidecar"));
                }
            }
            if let Some(ratio) = &limits.max_ratio {
                all.ratio_max = ratio.value;
                let wrong = match ratio.value {
                    0 => Some("expected at least 1"),
                    _ if codings.is_empty() => Some("no body is decoded here: the contract has no `contentCodings`"),
                    _ => None,
                };
                let finding = |message: &str| Finding::error("limit-invalid", file, ratio, message);
                self.findings.extend(wrong.map(finding));
            }
            all.datum.depth_max = limits.max_depth.as_ref().map_or(all.datum.depth_max, |depth| depth.value);
            all.datum.items_max = limits.max_items.unwrap_or(all.datum.items_max);
            all.datum.strict_varints = limits.strict_varints;
            all.datum.logical = limits.logical;
        }
        all.body_bytes_max = all.body_bytes_max.min(self.settings.held_bytes_max);
        all
    }
}
