//! Texts in one piece of memory, `fields` of them for each row.

/// How many texts of a [`TextBlock`] share one 64-bit base; each then costs four bytes beside its own.
const RUN: usize = 256;

/// Texts laid out row after row in one piece of memory: `fields` texts for each row.
#[derive(Debug, Default)]
pub struct TextBlock {
    fields: usize,
    /// Where in `bytes` each run of [`RUN`] texts begins.
    bases: Vec<u64>,
    /// End of each text, counted from its run's base; text `i` begins where text `i - 1` ends.
    ends: Vec<u32>,
    bytes: String,
}

impl TextBlock {
    /// An empty block of rows with this many texts each.
    #[must_use]
    pub fn new(fields: usize) -> Self {
        Self { fields, bases: Vec::new(), ends: Vec::new(), bytes: String::new() }
    }

    /// Makes room for `texts` texts of `bytes` bytes together.
    pub fn reserve(&mut self, texts: usize, bytes: usize) {
        self.ends.reserve_exact(texts);
        self.bytes.reserve_exact(bytes);
    }

    /// Appends the next text of the current row.
    ///
    /// # Panics
    /// If 256 neighbouring texts together exceed 4 GiB.
    pub fn push(&mut self, text: &str) {
        self.push_parts(&[text]);
    }

    /// Appends the next text of the current row, given in parts.
    ///
    /// # Panics
    /// If 256 neighbouring texts together exceed 4 GiB.
    fn push_parts(&mut self, parts: &[&str]) {
        if self.ends.len().is_multiple_of(RUN) {
            self.bases.push(self.bytes.len() as u64);
        }
        for part in parts {
            if self.bytes.capacity() - self.bytes.len() < part.len() {
                // A quarter more instead of twice as much: this is the largest thing in memory.
                self.bytes.reserve_exact(part.len() + self.bytes.len() / 4 + 1024);
            }
            self.bytes.push_str(part);
        }
        let base = self.bases.last().copied().unwrap_or(0);
        let end = u32::try_from(self.bytes.len() as u64 - base);
        #[allow(clippy::expect_used, reason = "16 MiB a cell on average is no text of this platform")]
        let end = end.expect("256 texts in a row are under 4 GiB");
        if self.ends.len() == self.ends.capacity() {
            self.ends.reserve_exact(self.ends.len() / 4 + 64);
        }
        self.ends.push(end);
    }

    /// The text of a row, empty where there is nothing. Panics if there is no such row or field.
    #[must_use]
    pub fn get(&self, row: usize, field: usize) -> &str {
        let at = row * self.fields + field;
        let base = self.bases[at / RUN];
        let start = if at.is_multiple_of(RUN) { base } else { base + u64::from(self.ends[at - 1]) };
        let end = base + u64::from(self.ends[at]);
        #[allow(clippy::cast_possible_truncation, reason = "offsets into memory that is allocated")]
        &self.bytes[start as usize..end as usize]
    }

    /// How many whole rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.ends.len().checked_div(self.fields).unwrap_or(0)
    }

    /// Bytes of memory in use.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<u32>() + self.bases.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_across_the_borders_of_runs() {
        let mut block = TextBlock::new(3);
        for row in 0..400 {
            block.push(&format!("a{row}"));
            block.push("");
            block.push_parts(&["ü", "-", &row.to_string()]);
        }
        assert_eq!(block.rows(), 400);
        for row in [0, 84, 85, 86, 170, 171, 399] {
            assert_eq!(block.get(row, 0), format!("a{row}"));
            assert_eq!(block.get(row, 1), "");
            assert_eq!(block.get(row, 2), format!("ü-{row}"));
        }
    }
}
