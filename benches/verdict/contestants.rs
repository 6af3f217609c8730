//! Who judges, each as a service would use it. A judge takes a datum, says whether it is valid, and says so as often as
//! it is asked.

use super::workloads::Workload;
use avrogate::avro::{Limits, Program, Schema, Step, Validator};
use serde::de::{Deserialize, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde_avro_fast::de::read::SliceRead;
use serde_avro_fast::de::{DeserializerConfig, DeserializerState};
use std::fmt;
use std::hint::black_box;
use std::io::Read;
use std::sync::Arc;

/// Judges the same bytes so many times: whether they were valid each time.
pub(crate) type Judge = Box<dyn FnMut(&[u8], u32) -> bool>;

fn each(mut judge: impl FnMut(&[u8]) -> bool + 'static) -> Judge {
    Box::new(move |bytes, times| (0..times).all(|_| judge(black_box(bytes))))
}

/// As the gate does: one validator, reset for each message.
pub(crate) fn avrogate(workload: &Workload) -> Judge {
    avrogate_within(workload.schema, Limits::default())
}

/// The same at another level.
pub(crate) fn avrogate_within(schema: &str, limits: Limits) -> Judge {
    let (mut validator, program) = validator(schema, limits);
    each(move |bytes| {
        validator.reset(&program);
        matches!(validator.push(bytes), Ok(Step::Done { consumed }) if consumed == bytes.len())
    })
}

/// The same with the message in pieces, as they come from a network.
pub(crate) fn avrogate_in_chunks(workload: &Workload, size: usize) -> Judge {
    let (mut validator, program) = validator(workload.schema, Limits::default());
    each(move |bytes| {
        validator.reset(&program);
        let (mut done, mut consumed_by_all) = (false, 0);
        for chunk in bytes.chunks(size) {
            consumed_by_all += match validator.push(black_box(chunk)) {
                Ok(Step::Done { consumed }) => {
                    done = true;
                    consumed
                }
                Ok(Step::NeedMore) => chunk.len(),
                Err(_) => return false,
            };
        }
        done && consumed_by_all == bytes.len()
    })
}

fn validator(schema: &str, limits: Limits) -> (Validator, Arc<Program>) {
    let program = Arc::new(Program::compile(&Schema::parse(schema).expect("a schema")));
    (Validator::new(program.clone(), limits), program)
}

pub(crate) fn by_hand(workload: &Workload) -> Judge {
    each(workload.by_hand)
}

pub(crate) fn serde_avro_fast(workload: &Workload) -> Judge {
    let schema: serde_avro_fast::Schema = workload.schema.parse().expect("a schema for serde_avro_fast");
    each(move |bytes| {
        let mut config = DeserializerConfig::new(&schema);
        // It counts unions as well.
        config.allowed_depth = 200;
        let mut state = DeserializerState::with_config(SliceRead::new(bytes), config);
        Checked::deserialize(state.deserializer()).is_ok() && matches!(state.into_reader().read(&mut [0]), Ok(0))
    })
}

/// How many messages arrow-avro takes at once, since that is what it is made for.
pub(crate) fn batch(workload: &Workload) -> u32 {
    u32::try_from((1 << 20) / workload.bytes.len()).unwrap_or(1).clamp(1, 1024)
}

/// In one batch, of [`batch`] messages or more; text is looked at when it ends. What is no record is the only field of
/// one. `None` where it takes no such schema.
#[cfg(feature = "bench-peers")]
pub(crate) fn arrow_avro(workload: &Workload) -> Option<Judge> {
    use arrow_avro::reader::{DecoderMode, ReaderBuilder};
    use arrow_avro::schema::{AvroSchema, SchemaStore};

    let schema = if workload.schema.starts_with(r#"{"type": "record""#) {
        workload.schema.to_owned()
    } else {
        let field = format!(r#"{{"name": "it", "type": {}}}"#, workload.schema);
        format!(r#"{{"type": "record", "name": "Root", "fields": [{field}]}}"#)
    };
    let mut store = SchemaStore::new();
    store.register(AvroSchema::new(schema)).ok()?;
    let builder = ReaderBuilder::new()
        .with_writer_schema_store(store)
        .with_decoder_mode(DecoderMode::UnframedDatum)
        .with_batch_size(1 << 20);
    let mut decoder = builder.build_decoder().ok()?;
    Some(Box::new(move |bytes, times| {
        let is_read = (0..times).all(|_| matches!(decoder.decode(black_box(bytes)), Ok(read) if read == bytes.len()));
        is_read && black_box(decoder.flush()).is_ok_and(|batch| batch.is_some())
    }))
}

#[cfg(not(feature = "bench-peers"))]
pub(crate) fn arrow_avro(_: &Workload) -> Option<Judge> {
    None
}

pub(crate) fn apache_avro(workload: &Workload) -> Judge {
    let schema =
        Box::leak(Box::new(apache_avro::Schema::parse_str(workload.schema).expect("a schema for apache-avro")));
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(schema).build().expect("a reader");
    each(move |mut bytes| black_box(reader.read_value(&mut bytes)).is_ok() && bytes.is_empty())
}

/// No judge, but the least that touching every byte costs.
pub(crate) fn memcpy(workload: &Workload) -> Judge {
    let mut copy = vec![0; workload.bytes.len()];
    each(move |bytes| {
        copy.copy_from_slice(bytes);
        !black_box(&mut copy).is_empty()
    })
}

/// No judge, but the least that looking at every byte as text costs.
pub(crate) fn simdutf8(_: &Workload) -> Judge {
    each(|bytes| black_box(simdutf8::basic::from_utf8(bytes).is_ok()) | true)
}

/// Any value, looked at and dropped.
struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(Self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        while entries.next_entry::<Self, Self>()?.is_some() {}
        Ok(Self)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Self, A::Error> {
        let (_, variant) = access.variant::<Self>()?;
        variant.newtype_variant::<Self>()
    }
}
