//! A program as text, to be read beside its schema: one line an operation, what it does in words, and for which field.

use super::program::{Op, Pc, Program, SiteId, SiteStep};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

impl Program {
    /// The program as text: each operation with its number, what it does, and the field it stands for. With `logical`
    /// as it runs where logical types are judged as well.
    #[must_use]
    pub fn listing(&self, logical: bool) -> String {
        let program = self.logical.as_deref().filter(|_| logical).unwrap_or(self);
        Listing::new(program).write()
    }
}

struct Listing<'a> {
    program: &'a Program,
    /// Where records that are called begin.
    procedures: BTreeSet<Pc>,
    /// Where branches of unions begin.
    branches: BTreeMap<Pc, String>,
    /// Where what is laid out inside of something ends, innermost last.
    ends: Vec<Pc>,
}

impl<'a> Listing<'a> {
    fn new(program: &'a Program) -> Self {
        let mut procedures = BTreeSet::new();
        let mut branches = BTreeMap::new();
        for op in &program.ops {
            if let Op::Call { target, .. } | Op::OptionalCall { target, .. } = op {
                procedures.insert(*target);
            }
            let starts = program.branches_at(*op);
            let end = end_of_union(program, starts);
            // A last branch without bytes has no line of its own.
            for (start, index) in starts.iter().zip(0_u32..).filter(|(start, _)| Some(**start) != end) {
                branches.entry(*start).or_insert_with(|| format!("branch {index}: "));
            }
        }
        Self { program, procedures, branches, ends: Vec::new() }
    }

    fn write(mut self) -> String {
        let mut text = String::new();
        let rows: Vec<_> = (0..).zip(&self.program.ops).map(|(pc, op)| self.row(pc, *op)).collect();
        let widest = rows.iter().map(|(what, _)| what.chars().count()).max().unwrap_or(0).min(WORDS_MAX);
        for ((what, field), pc) in rows.iter().zip(0..) {
            if self.procedures.contains(&pc) {
                let _ = writeln!(text, "{}, which is called; its fields:", self.record(pc));
            }
            let line = format!("{pc:5}  {what:widest$}  {field}");
            let _ = writeln!(text, "{}", line.trim_end());
            for (bytes, site) in self.parts(pc) {
                let part = format!("       {:widest$}  {}", format!("  {bytes}"), self.path(site));
                let _ = writeln!(text, "{}", part.trim_end());
            }
        }
        text
    }

    /// What an operation does, indented by what it lies in, and the field it stands for.
    fn row(&mut self, pc: Pc, op: Op) -> (String, String) {
        while self.ends.last().is_some_and(|end| *end <= pc) {
            self.ends.pop();
        }
        let indent = "  ".repeat(self.ends.len().min(INDENT_MAX));
        let branch = self.branches.get(&pc).map_or("", String::as_str);
        let words = self.words(pc, op);
        if let Op::Open { block: end, .. } | Op::Optional { end, .. } = op {
            self.ends.push(end);
        }
        self.ends.extend(end_of_union(self.program, self.program.branches_at(op)));
        let is_merged = self.program.merged.contains_key(&pc);
        let field = if is_merged { String::new() } else { self.path(self.program.site_of(pc)) };
        (format!("{indent}{branch}{words}"), field)
    }

    fn words(&self, pc: Pc, op: Op) -> String {
        let optional = |null: u8| (null >> 1, (null >> 1) ^ 1);
        let present = |null: u8, what: &str| {
            let (absent, present) = optional(null);
            format!("optional: index {absent} is null, index {present} {what}")
        };
        match op {
            Op::Boolean => "boolean: one byte, 00 or 01".into(),
            Op::Int => "int: a number of at most 32 bits".into(),
            Op::Long => "long: a number of at most 64 bits".into(),
            Op::Bytes => "bytes: a length and that many bytes".into(),
            Op::String => "string: a length and that many bytes of UTF-8".into(),
            Op::Skip(width) => format!("any {}", bytes(width.into())),
            Op::SkipLarge { size } => format!("any {}", bytes(self.program.size(size))),
            Op::Enum(symbols) => format!("enum: an index below {symbols}"),
            Op::Optional { null, end } => {
                let (absent, present) = optional(null);
                format!("optional: index {absent} is null: go on at {end}; index {present} what follows")
            }
            Op::OptionalBoolean { null } => present(null, "a boolean"),
            Op::OptionalInt { null } => present(null, "an int"),
            Op::OptionalLong { null } => present(null, "a long"),
            Op::OptionalBytes { null } => present(null, "bytes"),
            Op::OptionalString { null } => present(null, "a string"),
            Op::OptionalSkip { null, width } => present(null, &format!("any {}", bytes(width.into()))),
            Op::OptionalEnum { null, symbols } => present(null, &format!("an enum's index below {symbols}")),
            Op::OptionalCall { null, target, .. } => {
                present(null, &format!("a record: call {target}, then go on here"))
            }
            Op::NarrowEnum { narrow } => {
                let symbols = self.program.narrow.get(narrow as usize).map_or(0, |narrow| narrow.of);
                format!("enum: an index below {symbols}, of a symbol that the reader takes")
            }
            Op::NarrowUnion { .. } => format!("{}; of a branch that the reader takes", self.union(op)),
            Op::Union { .. } => self.union(op),
            Op::Jump(to) => format!("go on at {to}"),
            Op::Depth { levels } => format!("a record opens: {} of maxDepth", deep(levels)),
            Op::Call { target, .. } => format!("a record: call {target}, then go on here"),
            Op::Return if self.is_called(pc) => "end: go on where it was called".into(),
            Op::Return => "end of the datum".into(),
            Op::Open { block, .. } => format!("{} opens: to its first block at {block}", self.type_name(pc)),
            Op::Next { body } => format!("next item of the block at {body}; behind its last, go on"),
            Op::EmptyBlock { .. } => "block: a count of items without bytes, and so on; count 0 ends".into(),
            Op::Block { body, .. } => format!("block: a count, its items at {body}; count 0 ends"),
            Op::LongRun => "all longs of the block".into(),
            Op::IntRun => "all ints of the block".into(),
            Op::BooleanRun => "all booleans of the block".into(),
            Op::StringRun { .. } => "all strings of the block".into(),
            Op::SkipRun(width) => format!("all items of the block, any {} each", bytes(width.get().into())),
            Op::Decimal { nines } => format!("decimal: a length and that many bytes, {}", self.digits(nines)),
            Op::FixedDecimal { nines, size } => {
                format!("decimal: {}, {}", bytes(self.program.size(size)), self.digits(nines))
            }
            Op::Uuid => "uuid: a string of 36 bytes that is a UUID".into(),
            Op::TimeMillis => "time-millis: an int within a day".into(),
            Op::TimeMicros => "time-micros: a long within a day".into(),
        }
    }

    fn union(&self, op: Op) -> String {
        let branches = self.program.branches_at(op);
        let mut starts: Vec<_> = branches.iter().take(BRANCHES_MAX).map(Pc::to_string).collect();
        if branches.len() > BRANCHES_MAX {
            starts.push("...".into());
        }
        format!("union: an index below {}, its branches at {}", branches.len(), starts.join(", "))
    }

    fn digits(&self, nines: u16) -> String {
        let digits = self.program.nines.get(usize::from(nines)).map_or(0, |nines| nines.digits);
        format!("at most {digits} digits")
    }

    /// Whether an operation lies in a record that is called: the last start before it is a call's.
    fn is_called(&self, pc: Pc) -> bool {
        self.procedures.range(..=pc).next_back().is_some()
    }

    fn type_name(&self, pc: Pc) -> &str {
        self.program.type_name(self.program.site_of(pc)).unwrap_or("array")
    }

    /// The record that is called at an operation.
    fn record(&self, pc: Pc) -> &str {
        let mut place = self.program.site(self.program.site_of(pc));
        while let Some(site) = place {
            place = match site.step {
                SiteStep::Start => return self.program.name(site.type_name),
                SiteStep::Field(around, _)
                | SiteStep::Item(around)
                | SiteStep::Entry(around)
                | SiteStep::Branch(around) => self.program.site(around),
            };
        }
        "a record"
    }

    /// The fields that one operation covers, and which bytes each has of it.
    fn parts(&self, pc: Pc) -> Vec<(String, SiteId)> {
        let mut start = 0;
        let fields = self.program.merged.get(&pc).map(Vec::as_slice).unwrap_or_default();
        let parts = fields.iter().map(|(end, site)| {
            let part =
                if *end == start + 1 { format!("byte {start}") } else { format!("bytes {start} to {}", end - 1) };
            start = *end;
            (part, *site)
        });
        parts.collect()
    }

    /// The way to a place, from the root or from the record that is called.
    fn path(&self, site: SiteId) -> String {
        let mut steps: Vec<&str> = Vec::new();
        let mut place = self.program.site(site);
        if self.program.type_name(site) == Some("map key") {
            steps.push(" (key)");
        }
        while let Some(site) = place {
            let (step, around): (&str, _) = match site.step {
                SiteStep::Start => break,
                SiteStep::Field(around, name) => (self.program.name(name), around),
                SiteStep::Item(around) => ("[]", around),
                SiteStep::Entry(around) => ("{}", around),
                SiteStep::Branch(around) => ("", around),
            };
            steps.push(step);
            place = self.program.site(around);
        }
        let mut path = String::new();
        for step in steps.into_iter().rev() {
            let is_name = !step.is_empty() && !["[]", "{}", " (key)"].contains(&step);
            if is_name && !path.is_empty() {
                path.push('.');
            }
            path.push_str(step);
        }
        path
    }
}

/// Where all branches of a union go on: where the jump before its second one leads.
fn end_of_union(program: &Program, branches: &[Pc]) -> Option<Pc> {
    match program.ops.get((*branches.get(1)? as usize).checked_sub(1)?) {
        Some(Op::Jump(end)) => Some(*end),
        _ => None,
    }
}

/// Columns for words, before a field's name moves to the right.
const WORDS_MAX: usize = 64;
/// Steps to the right, however deep it lies.
const INDENT_MAX: usize = 12;
/// Branches whose starts are named; each says at its own start which it is.
const BRANCHES_MAX: usize = 8;

fn bytes(count: u64) -> String {
    if count == 1 { "1 byte".into() } else { format!("{count} bytes") }
}

fn deep(levels: u32) -> String {
    if levels == 1 { "1 level".into() } else { format!("{levels} levels") }
}
