//! What one would write who had only this schema to judge: no program, no path, no limit, no chunks.

/// What is left of the input. Everything says `None` at the first thing that is wrong.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    #[inline(always)]
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    #[inline(always)]
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    #[inline(always)]
    fn long(&mut self) -> Option<i64> {
        let byte = self.byte()?;
        let value = if byte < 0x80 { byte.into() } else { self.long_of_many(byte)? };
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn long_of_many(&mut self, first: u8) -> Option<u64> {
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    #[inline(always)]
    fn int(&mut self) -> Option<i32> {
        let byte = self.byte()?;
        if byte < 0x80 {
            return Some(i32::from(byte >> 1) ^ -i32::from(byte & 1));
        }
        let mut value = u32::from(byte & 0x7f);
        for shift in [7, 14, 21, 28] {
            let byte = self.byte()?;
            if shift == 28 && byte > 0x0f {
                return None;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some((value >> 1) as i32 ^ -((value & 1) as i32));
            }
        }
        None
    }

    #[inline(always)]
    fn blob(&mut self) -> Option<&'a [u8]> {
        let length = self.long()?;
        self.take(usize::try_from(length).ok()?)
    }

    #[inline(always)]
    fn text(&mut self) -> Option<()> {
        let text = self.blob()?;
        let is_fine = if text.len() <= 16 { text.is_ascii() } else { false };
        (is_fine || simdutf8::basic::from_utf8(text).is_ok()).then_some(())
    }

    #[inline(always)]
    fn double(&mut self) -> Option<()> {
        self.take(8).map(drop)
    }

    #[inline(always)]
    fn boolean(&mut self) -> Option<()> {
        self.byte().filter(|byte| *byte <= 1).map(drop)
    }

    #[inline(always)]
    fn below(&mut self, bound: i32) -> Option<i32> {
        self.int().filter(|index| (0..bound).contains(index))
    }

    #[inline(always)]
    fn optional(&mut self, value: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        if self.below(2)? == 1 { value(self) } else { Some(()) }
    }

    #[inline(always)]
    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Some(());
            }
            let size = if count < 0 { Some(self.long()?) } else { None };
            let before = self.0.len();
            for _ in 0..count.checked_abs()? {
                item(self)?;
            }
            if size.is_some_and(|size| usize::try_from(size) != Ok(before - self.0.len())) {
                return None;
            }
        }
    }
}

#[inline(always)]
fn whole(bytes: &[u8], datum: impl FnOnce(&mut Rest<'_>) -> Option<()>) -> bool {
    let mut rest = Rest(bytes);
    datum(&mut rest).is_some() && rest.0.is_empty()
}

pub(crate) fn tiny(bytes: &[u8]) -> bool {
    whole(bytes, |rest| {
        rest.long()?;
        rest.text()?;
        rest.double()?;
        rest.boolean()
    })
}

pub(crate) fn order(bytes: &[u8]) -> bool {
    whole(bytes, |rest| {
        rest.text()?;
        rest.long()?;
        rest.below(4)?;
        rest.long()?;
        rest.text()?;
        rest.optional(Rest::text)?;
        rest.boolean()?;
        rest.blocks(|line| {
            line.text()?;
            line.int()?;
            line.double()?;
            line.optional(Rest::double)
        })?;
        rest.blocks(|label| {
            label.text()?;
            label.text()
        })?;
        rest.optional(Rest::text)?;
        match rest.below(3)? {
            0 => {}
            1 => rest.text()?,
            _ => {
                rest.text()?;
                rest.int()?;
            }
        }
        rest.optional(Rest::text)
    })
}

pub(crate) fn longs(bytes: &[u8]) -> bool {
    whole(bytes, |rest| rest.blocks(|item| item.long().map(drop)))
}

pub(crate) fn doubles(bytes: &[u8]) -> bool {
    whole(bytes, |rest| {
        loop {
            match rest.long()? {
                0 => return Some(()),
                count => rest.take(usize::try_from(count).ok()?.checked_mul(8)?)?,
            };
        }
    })
}

pub(crate) fn text(bytes: &[u8]) -> bool {
    whole(bytes, |rest| rest.text())
}

pub(crate) fn blob(bytes: &[u8]) -> bool {
    whole(bytes, |rest| rest.blob().map(drop))
}

pub(crate) fn wide(bytes: &[u8]) -> bool {
    whole(bytes, |rest| {
        for _ in 0..40 {
            rest.optional(Rest::text)?;
            rest.optional(|value| value.long().map(drop))?;
            rest.optional(Rest::double)?;
            rest.optional(|value| value.int().map(drop))?;
            rest.optional(Rest::boolean)?;
        }
        Some(())
    })
}

pub(crate) fn tree(bytes: &[u8]) -> bool {
    fn node(rest: &mut Rest<'_>) -> Option<()> {
        rest.long()?;
        rest.optional(node)?;
        rest.optional(node)
    }
    whole(bytes, node)
}

pub(crate) fn list(bytes: &[u8]) -> bool {
    whole(bytes, |rest| {
        loop {
            rest.text()?;
            if rest.below(2)? == 0 {
                return Some(());
            }
        }
    })
}

pub(crate) fn records(bytes: &[u8]) -> bool {
    whole(bytes, |rest| {
        rest.blocks(|event| {
            event.long()?;
            event.long()?;
            event.below(3)?;
            event.optional(Rest::text)?;
            event.text()?;
            event.optional(Rest::double)?;
            event.blocks(Rest::text)
        })
    })
}
