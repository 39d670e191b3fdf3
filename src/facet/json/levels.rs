//! What a scan without recursion remembers of the way down.

/// Which of the levels that are open are objects, one bit each, the innermost lowest. Up to 128
/// need no allocation, which is all that a request can have.
#[derive(Default)]
pub(super) struct Levels {
    inner: u128,
    inner_len: u32,
    outer: Vec<u128>,
}

impl Levels {
    #[inline]
    pub(super) fn push(&mut self, object: bool) {
        if self.inner_len == u128::BITS {
            self.outer.push(self.inner);
            self.inner_len = 0;
        }
        self.inner = self.inner << 1 | u128::from(object);
        self.inner_len += 1;
    }

    #[inline]
    pub(super) fn pop(&mut self) {
        self.inner >>= 1;
        self.inner_len -= 1;
        if self.inner_len == 0
            && let Some(outer) = self.outer.pop()
        {
            self.inner = outer;
            self.inner_len = u128::BITS;
        }
    }

    #[inline]
    pub(super) const fn in_object(&self) -> bool {
        self.inner & 1 == 1
    }
}
