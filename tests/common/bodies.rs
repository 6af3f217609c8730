//! Bodies, written by hand: the orders, refunds and answers of `deploy/example`.

use avrogate::avro::Schema;

/// The registry ids of `deploy/example/schemas/catalog.yaml`.
pub(crate) const ORDER_1: u32 = 17;
pub(crate) const ORDER_2: u32 = 18;
pub(crate) const REFUND: u32 = 21;

/// A text that occurs in payloads and nowhere else: who finds it elsewhere has found a leak.
pub(crate) const CANARY: &str = "canary-4711-sings";

const ORDER_SCHEMA: &str = include_str!("../../deploy/example/schemas/orders-value/1.avsc");
const ACCEPTED_SCHEMA: &str = include_str!("../../deploy/example/schemas/orders-accepted/1.avsc");

/// Confluent's framing.
pub(crate) fn framed(id: u32, datum: &[u8]) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), datum].concat()
}

/// Single-object encoding.
pub(crate) fn single_object(schema: &str, datum: &[u8]) -> Vec<u8> {
    let fingerprint = Schema::parse(schema).unwrap().fingerprint();
    [&[0xc3, 0x01][..], &fingerprint.to_le_bytes(), datum].concat()
}

/// A valid order in Confluent's framing.
pub(crate) fn order() -> Vec<u8> {
    framed(ORDER_1, &order_datum(2))
}

/// A valid order in single-object encoding.
pub(crate) fn order_single_object() -> Vec<u8> {
    single_object(ORDER_SCHEMA, &order_datum(2))
}

/// An order whose last line has a status that the enum has no symbol for: `lines[1].status`.
pub(crate) fn order_with_bad_status() -> Vec<u8> {
    let mut body = order();
    let at = bad_status_at(&body);
    body[at] = 7 << 1;
    body
}

/// Where the last line's status is: before the end of the array and the note.
pub(crate) fn bad_status_at(order: &[u8]) -> usize {
    order.len() - 3
}

/// A valid order of exactly so many bytes: the customer's name fills it.
pub(crate) fn order_of_length(length: usize) -> Vec<u8> {
    (0..=length)
        .rev()
        .map(|fill| framed(ORDER_1, &datum(&"c".repeat(fill), 1)))
        .find(|body| body.len() == length)
        .unwrap()
}

/// An order's datum with so many lines.
pub(crate) fn order_datum(lines: usize) -> Vec<u8> {
    datum(CANARY, lines)
}

fn datum(customer: &str, lines: usize) -> Vec<u8> {
    let mut to = Vec::new();
    text(&mut to, "o-4711");
    text(&mut to, customer);
    long(&mut to, 1_795_000_000_000);
    long(&mut to, 0); // EUR
    if lines > 0 {
        long(&mut to, i64::try_from(lines).unwrap());
    }
    for line in 0..lines {
        text(&mut to, &format!("SKU-{line}"));
        long(&mut to, 2);
        long(&mut to, 2);
        to.extend([0x07, 0xcf]); // 19.99
        long(&mut to, 0); // NEW
    }
    long(&mut to, 0);
    long(&mut to, 0); // no note
    to
}

/// A valid refund in Confluent's framing.
pub(crate) fn refund() -> Vec<u8> {
    framed(REFUND, &refund_datum())
}

/// A refund's datum.
pub(crate) fn refund_datum() -> Vec<u8> {
    let mut to = Vec::new();
    text(&mut to, "o-4711");
    long(&mut to, 2);
    to.extend([0x07, 0xcf]);
    long(&mut to, 0); // no reason
    to
}

/// A valid answer to an order.
pub(crate) fn accepted() -> Vec<u8> {
    let mut to = Vec::new();
    text(&mut to, CANARY);
    long(&mut to, 2);
    long(&mut to, 1_795_000_000_000);
    single_object(ACCEPTED_SCHEMA, &to)
}

fn text(to: &mut Vec<u8>, text: &str) {
    long(to, i64::try_from(text.len()).unwrap());
    to.extend(text.as_bytes());
}

/// Zigzag, seven bits a byte.
fn long(to: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest > 0x7f {
        to.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    to.push(u8::try_from(rest).unwrap());
}
