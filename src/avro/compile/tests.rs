//! Schemas and data made to cost: programs stay small, runs stay short, nothing recurses with the input.

use super::super::schema::{Field, Fixed, Kind, Names, Node, NodeId, Record, Schema};
use super::super::{Fault, Limits, Program, Step, Validator, Violation};
use std::sync::Arc;

/// A schema put together type by type, larger than a text may be.
#[derive(Default)]
struct Arena(Vec<Node>);

impl Arena {
    fn add(&mut self, kind: Kind) -> NodeId {
        self.0.push(Node { kind, logical: None, place: Default::default() });
        NodeId(u32::try_from(self.0.len() - 1).unwrap())
    }

    fn names(&self) -> Names {
        Names { full: format!("N{}", self.0.len()).into(), aliases: Box::default() }
    }

    fn record(&mut self, fields: impl IntoIterator<Item = NodeId>) -> NodeId {
        let field = |(at, node)| Field {
            name: format!("f{at}").into(),
            aliases: Box::default(),
            node,
            order: Default::default(),
            default: None,
            place: Default::default(),
        };
        let fields = fields.into_iter().enumerate().map(field).collect();
        self.add(Kind::Record(Box::new(Record { names: self.names(), fields, error: false })))
    }

    fn fixed(&mut self, size: u64) -> NodeId {
        self.add(Kind::Fixed(Box::new(Fixed { names: self.names(), size })))
    }

    fn compile(self, root: NodeId) -> Program {
        let schema = Schema { nodes: self.0.into(), root, sha256: [0; 32], files: [0].into() };
        Program::compile(&schema)
    }
}

fn parsed(text: &str) -> Program {
    Program::compile(&Schema::parse(text).unwrap())
}

fn judge(program: Program, limits: Limits, bytes: &[u8]) -> Result<usize, Violation> {
    let mut validator = Validator::new(Arc::new(program), limits);
    match validator.push(bytes)? {
        Step::Done { consumed } => Ok(consumed),
        Step::NeedMore => validator.finish().map(|()| bytes.len()),
    }
}

fn fault(verdict: Result<usize, Violation>) -> (Fault, u64) {
    let violation = verdict.unwrap_err();
    (violation.fault, violation.offset)
}

/// Forty records, each of which holds the last one twice, about a leaf.
fn doubling(leaf: Kind) -> Program {
    let mut arena = Arena::default();
    let mut inner = arena.add(leaf);
    for _ in 0..40 {
        inner = arena.record([inner, inner]);
    }
    arena.compile(inner)
}

#[test]
fn doubling_records_take_room_by_the_level() {
    let program = doubling(Kind::Int);
    assert!(program.ops.len() < 40 * 8, "{}", program.ops.len());
    assert_eq!(fault(judge(program, Limits::default(), &[0; 1 << 20])), (Fault::Truncated, 1 << 20));
}

#[test]
fn doubling_records_without_bytes_take_no_time() {
    let program = doubling(Kind::Null);
    assert!(program.ops.len() < 4, "{:?}", program.ops);
    assert_eq!(judge(program, Limits::default(), &[]), Ok(0));
    let shallow = Limits { depth_max: 39, ..Limits::default() };
    assert_eq!(fault(judge(doubling(Kind::Null), shallow, &[])), (Fault::DepthExceeded, 0));
}

#[test]
fn wide_records_and_unions_take_room_by_the_part() {
    let mut arena = Arena::default();
    let kinds = [Kind::Int, Kind::String, Kind::Double, Kind::Null];
    let nodes = kinds.map(|kind| arena.add(kind));
    let root = arena.record((0..100_000).map(|at| nodes[at % 4]));
    let program = arena.compile(root);
    assert!(program.ops.len() <= 75_002, "{}", program.ops.len());
    assert_eq!(judge(program, Limits::default(), &[0; 250_000]), Ok(250_000));

    let mut arena = Arena::default();
    let branches = (0..20_000).map(|_| arena.fixed(1)).collect();
    let root = arena.add(Kind::Union(branches));
    let program = arena.compile(root);
    assert!(program.ops.len() <= 40_002, "{}", program.ops.len());
    assert_eq!(judge(program, Limits::default(), &[0xbe, 0xb8, 0x02, 0]), Ok(4));
}

#[test]
fn a_chain_of_records_is_cut_into_procedures() {
    let chain = |leaf| {
        let mut arena = Arena::default();
        let mut inner = arena.add(leaf);
        for _ in 0..50_000 {
            inner = arena.record([inner]);
        }
        arena.compile(inner)
    };
    assert!(chain(Kind::Int).ops.len() < 100_000);
    assert_eq!(fault(judge(chain(Kind::Int), Limits::default(), &[0])), (Fault::DepthExceeded, 0));
    let deep = Limits { depth_max: 50_000, ..Limits::default() };
    assert_eq!(judge(chain(Kind::Int), deep, &[0]), Ok(1));
    assert_eq!(judge(chain(Kind::Null), deep, &[]), Ok(0));
    let one_less = Limits { depth_max: 49_999, ..deep };
    assert_eq!(fault(judge(chain(Kind::Int), one_less, &[0])), (Fault::DepthExceeded, 0));
    assert_eq!(fault(judge(chain(Kind::Null), one_less, &[])), (Fault::DepthExceeded, 0));
}

#[test]
fn a_record_used_often_is_not_repeated_without_end() {
    let mut arena = Arena::default();
    let int = arena.add(Kind::Int);
    let small = arena.record([int; 20]);
    let large = arena.record([int; 100]);
    let root = arena.record((0..40_000).map(|at| if at % 2 == 0 { small } else { large }));
    let program = arena.compile(root);
    assert!(program.ops.len() < 40_000 + 200, "{}", program.ops.len());
}

#[test]
fn items_that_hold_much_without_bytes_cost_what_their_bytes_do() {
    let mut arena = Arena::default();
    let nothing = arena.record([]);
    let boolean = arena.add(Kind::Boolean);
    let fields = std::iter::once(boolean).chain((0..50_000).map(|_| nothing));
    let item = arena.record(fields);
    let root = arena.add(Kind::Array(item));
    let program = arena.compile(root);
    assert!(program.ops.len() < 10, "{}", program.ops.len());
}

#[test]
fn many_arrays_without_bytes_compile_in_one_go() {
    let mut arena = Arena::default();
    let null = arena.add(Kind::Null);
    let list = arena.add(Kind::Array(null));
    let root = arena.record(std::iter::repeat_n(list, 50_000));
    let program = arena.compile(root);
    assert!(program.ops.len() <= 100_002);
    let mut bytes = [0xfe, 0xff, 0x03, 0].repeat(4);
    bytes.resize(50_012, 0);
    assert_eq!(judge(program, Limits::default(), &bytes), Ok(50_012));
}

#[test]
fn counts_without_bytes_are_never_counted_down() {
    let program = || parsed(r#"{"type": "array", "items": {"type": "array", "items": "null"}}"#);
    let most = [&[0xfe][..], &[0xff; 8], &[0x01]].concat();
    assert_eq!(fault(judge(program(), Limits::default(), &most)), (Fault::ItemsExceeded, 0));
    let generous = Limits { items_max: u64::MAX, ..Limits::default() };
    let nested = [&[2][..], &most, &[0, 0]].concat();
    assert_eq!(judge(program(), generous, &nested), Ok(13));
    assert_eq!(fault(judge(program(), generous, &most)), (Fault::Truncated, 10));
    // Blocks of as many items as a number holds, until the sum is more than one can say.
    let twice = [&[2][..], &most, &most, &[0, 0]].concat();
    assert_eq!(judge(program(), generous, &twice), Ok(23));
    let thrice = [&[2][..], &most, &most, &most, &[0, 0]].concat();
    assert_eq!(fault(judge(program(), generous, &thrice)), (Fault::ItemsExceeded, 21));
}

#[test]
fn data_as_deep_as_it_is_long_needs_no_stack() {
    let list = || parsed(r#"{"type": "record", "name": "L", "fields": [{"name": "n", "type": ["null", "L"]}]}"#);
    let mut bytes = vec![2; 400_000];
    bytes.push(0);
    assert_eq!(fault(judge(list(), Limits::default(), &bytes)), (Fault::DepthExceeded, 64));
    let deep = Limits { depth_max: u32::MAX, ..Limits::default() };
    assert_eq!(judge(list(), deep, &bytes), Ok(400_001));
    assert_eq!(fault(judge(list(), deep, &bytes[..400_000])), (Fault::Truncated, 400_000));

    let tree = parsed(
        r#"{"type": "record", "name": "T", "fields": [{"name": "c", "type": {"type": "array", "items": "T"}}]}"#,
    );
    assert_eq!(fault(judge(tree, deep, &bytes)), (Fault::Truncated, 400_001));
}
