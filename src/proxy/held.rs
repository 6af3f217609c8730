//! How many bytes of bodies the process holds back, and how many it may.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One body's share of the bytes that the process holds; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct HeldBytes {
    ledger: Arc<HeldLedger>,
    share: u64,
}

/// The account of the whole process.
#[derive(Debug)]
pub(crate) struct HeldLedger {
    held: AtomicU64,
    most: u64,
}

impl HeldLedger {
    /// An account of at most so many bytes.
    #[must_use]
    pub(crate) fn new(most: u64) -> Arc<Self> {
        Arc::new(Self { held: AtomicU64::new(0), most })
    }

    /// Bytes held now.
    #[must_use]
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Bytes that may be held.
    #[must_use]
    pub(crate) fn most(&self) -> u64 {
        self.most
    }
}

impl HeldBytes {
    /// A share of nothing yet.
    #[must_use]
    pub(crate) fn of(ledger: &Arc<HeldLedger>) -> Self {
        Self { ledger: ledger.clone(), share: 0 }
    }

    /// Takes more, if the process may hold it.
    #[must_use]
    pub(crate) fn grow(&mut self, bytes: u64) -> bool {
        let before = self.ledger.held.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.ledger.most {
            self.ledger.held.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.share += bytes;
        true
    }

    /// Gives some back; never more than was taken.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        let back = bytes.min(self.share);
        self.share -= back;
        self.ledger.held.fetch_sub(back, Ordering::Relaxed);
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.shrink(self.share);
    }
}
