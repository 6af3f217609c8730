//! How one datum is framed in a body: which bytes stand before it and how they name its schema.

/// A framing that a contract may accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Confluent's prefix: a zero byte, the registry id as four bytes big-endian, the datum.
    Confluent,
    /// Avro's single-object encoding: `C3 01`, CRC-64-AVRO as eight bytes little-endian, the datum.
    SingleObject,
    /// The datum alone; the contract names its one schema.
    Bare,
}

/// The framings a contract accepts: at least one; [`Framing::Bare`] only alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FramingSet {
    confluent: bool,
    single_object: bool,
}

impl Framing {
    /// Every framing.
    pub const ALL: [Self; 3] = [Self::Confluent, Self::SingleObject, Self::Bare];

    /// What stands before the datum, for a person.
    #[must_use]
    pub fn shape(self) -> &'static str {
        match self {
            Self::Confluent => "00 and the schema's id in four bytes",
            Self::SingleObject => "C3 01 and the schema's fingerprint in eight bytes",
            Self::Bare => "the datum alone",
        }
    }

    /// The word of policy files, metrics and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Confluent => "Confluent",
            Self::SingleObject => "SingleObject",
            Self::Bare => "Bare",
        }
    }

    /// Bytes that stand before the datum.
    #[must_use]
    pub fn prefix_len(self) -> usize {
        match self {
            Self::Confluent => 5,
            Self::SingleObject => 10,
            Self::Bare => 0,
        }
    }
}

impl FramingSet {
    /// The datum alone.
    pub const BARE: Self = Self { confluent: false, single_object: false };

    /// The set of these framings; `None` if there is none, or if bare data stand beside another framing, since a bare
    /// datum may begin with any byte.
    #[must_use]
    pub fn new(framings: &[Framing]) -> Option<Self> {
        let set = Self {
            confluent: framings.contains(&Framing::Confluent),
            single_object: framings.contains(&Framing::SingleObject),
        };
        let bare = framings.contains(&Framing::Bare);
        (bare != (set.confluent || set.single_object)).then_some(set)
    }

    /// Whether bodies are bare data.
    #[must_use]
    pub fn is_bare(self) -> bool {
        self == Self::BARE
    }

    /// Whether the set holds this framing.
    #[must_use]
    pub fn contains(self, framing: Framing) -> bool {
        match framing {
            Framing::Confluent => self.confluent,
            Framing::SingleObject => self.single_object,
            Framing::Bare => self.is_bare(),
        }
    }
}
