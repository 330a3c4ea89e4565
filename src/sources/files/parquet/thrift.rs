//! A file's description looked at before the crate takes it apart: that no list claims more than its bytes can hold, and
//! that neither nesting nor the number of its parts exhausts stack or memory.
//!
//! On the encoding: <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>

/// Structures and elements of lists, at most. In memory each takes about a hundred bytes, several times over.
const PARTS: usize = 500_000;
/// Structures within structures, at most. The format itself has six.
const NESTING: usize = 32;
/// Columns within columns, at most.
const COLUMNS: usize = 64;

/// The field of a file's description that has its schema, and the one of a schema's element that counts its children.
const SCHEMA: i64 = 2;
const CHILDREN: i64 = 5;

/// What is wrong with a description, as it follows the file's name; `None`: nothing that is looked for here.
pub(super) fn refused(description: &[u8]) -> Option<&'static str> {
    let mut walk = Walk { bytes: description, at: 0, parts: 0 };
    match walk.file() {
        Ok(()) => None,
        Err(Fault::Large) => Some("has too large a description: write fewer and larger row groups"),
        Err(Fault::Deep) => Some("has columns nested too deep"),
        // The crate says better what it is.
        Err(Fault::Broken) => Some("is no sound Parquet file: its description is broken"),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Broken,
    Large,
    Deep,
}

/// The wire's types.
mod wire {
    pub(super) const TRUE: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const I16: u8 = 4;
    pub(super) const I32: u8 = 5;
    pub(super) const I64: u8 = 6;
    pub(super) const DOUBLE: u8 = 7;
    pub(super) const BINARY: u8 = 8;
    pub(super) const LIST: u8 = 9;
    pub(super) const SET: u8 = 10;
    pub(super) const MAP: u8 = 11;
    pub(super) const STRUCT: u8 = 12;
    pub(super) const UUID: u8 = 13;
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    parts: usize,
}

impl Walk<'_> {
    fn file(&mut self) -> Result<(), Fault> {
        let mut field = 0;
        while let Some(kind) = self.field(&mut field)? {
            if (field, kind) == (SCHEMA, wire::LIST) {
                self.schema()?;
            } else {
                self.value(kind, NESTING)?;
            }
        }
        Ok(())
    }

    /// The schema is a tree, written node by node, each before its children.
    fn schema(&mut self) -> Result<(), Fault> {
        let (kind, count) = self.list()?;
        if kind != wire::STRUCT {
            return Err(Fault::Broken);
        }
        // For each node that is open, how many children are still to come.
        let mut open: Vec<i64> = Vec::new();
        for _ in 0..count {
            self.count(1)?;
            let (mut field, mut children) = (0, 0);
            while let Some(kind) = self.field(&mut field)? {
                if (field, kind) == (CHILDREN, wire::I32) {
                    children = self.signed()?;
                } else {
                    self.value(kind, NESTING)?;
                }
            }
            while open.last() == Some(&0) {
                open.pop();
            }
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
            if children > 0 {
                open.push(children);
            }
            if open.len() > COLUMNS {
                return Err(Fault::Deep);
            }
        }
        Ok(())
    }

    /// The type of the next field of a structure, whose number then is `number`; `None` at its end.
    fn field(&mut self, number: &mut i64) -> Result<Option<u8>, Fault> {
        let head = self.byte()?;
        if head == 0 {
            return Ok(None);
        }
        *number = match head >> 4 {
            0 => self.signed()?,
            step => number.saturating_add(i64::from(step)),
        };
        Ok(Some(head & 0x0F))
    }

    fn value(&mut self, kind: u8, nesting: usize) -> Result<(), Fault> {
        let deeper = nesting.checked_sub(1).ok_or(Fault::Deep)?;
        match kind {
            wire::TRUE | wire::FALSE => Ok(()),
            wire::BYTE => self.skip(1),
            wire::I16 | wire::I32 | wire::I64 => self.unsigned().map(drop),
            wire::DOUBLE => self.skip(8),
            wire::UUID => self.skip(16),
            wire::BINARY => {
                let length = self.unsigned()?;
                self.skip(usize::try_from(length).map_err(|_| Fault::Broken)?)
            }
            wire::LIST | wire::SET => {
                let (kind, count) = self.list()?;
                self.count(count)?;
                (0..count).try_for_each(|_| self.element(kind, deeper))
            }
            wire::MAP => {
                let count = self.unsigned()?;
                if count == 0 {
                    return Ok(());
                }
                let count = self.fits(count)?;
                let kinds = self.byte()?;
                self.count(count)?;
                (0..count).try_for_each(|_| {
                    self.element(kinds >> 4, deeper)?;
                    self.element(kinds & 0x0F, deeper)
                })
            }
            wire::STRUCT => {
                self.count(1)?;
                let mut field = 0;
                while let Some(kind) = self.field(&mut field)? {
                    self.value(kind, deeper)?;
                }
                Ok(())
            }
            _ => Err(Fault::Broken),
        }
    }

    /// In a list a truth has a byte of its own.
    fn element(&mut self, kind: u8, nesting: usize) -> Result<(), Fault> {
        if matches!(kind, wire::TRUE | wire::FALSE) { self.skip(1) } else { self.value(kind, nesting) }
    }

    /// The type of a list's elements, and how many there are.
    fn list(&mut self) -> Result<(u8, usize), Fault> {
        let head = self.byte()?;
        let count = match head >> 4 {
            0x0F => self.unsigned()?,
            few => u64::from(few),
        };
        Ok((head & 0x0F, self.fits(count)?))
    }

    /// A number of elements that the rest of the bytes can hold: each has one at least.
    fn fits(&self, count: u64) -> Result<usize, Fault> {
        usize::try_from(count).ok().filter(|count| *count <= self.bytes.len() - self.at).ok_or(Fault::Broken)
    }

    fn count(&mut self, parts: usize) -> Result<(), Fault> {
        self.parts += parts;
        if self.parts > PARTS { Err(Fault::Large) } else { Ok(()) }
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let byte = *self.bytes.get(self.at).ok_or(Fault::Broken)?;
        self.at += 1;
        Ok(byte)
    }

    fn skip(&mut self, bytes: usize) -> Result<(), Fault> {
        let end = self.at.checked_add(bytes).filter(|end| *end <= self.bytes.len());
        self.at = end.ok_or(Fault::Broken)?;
        Ok(())
    }

    fn unsigned(&mut self) -> Result<u64, Fault> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Fault::Broken)
    }

    fn signed(&mut self) -> Result<i64, Fault> {
        let number = self.unsigned()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A description of this schema: for each node how many children it has.
    fn described(children: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x15, 2, 0x19]; // version = 1, then the list of the schema
        let count = u8::try_from(children.len()).unwrap();
        bytes.push(0xFC);
        bytes.extend([count & 0x7F | 0x80, count >> 7]);
        for children in children {
            bytes.extend([0x48, 1, b'a', 0x15, children * 2, 0]); // name (4), num_children (5)
        }
        bytes.push(0);
        bytes
    }

    #[test]
    fn depth_is_that_of_the_tree_not_of_the_bytes() {
        assert_eq!(refused(&described(&[3, 0, 0, 0])), None);
        assert_eq!(refused(&described(&[vec![1; 60], vec![0]].concat())), None);
        assert_eq!(refused(&described(&[vec![1; 100], vec![0]].concat())), Some("has columns nested too deep"));
        let side_by_side: Vec<u8> = std::iter::once(63).chain([1, 0].repeat(63)).collect();
        assert_eq!(refused(&described(&side_by_side)), None);
    }

    #[test]
    fn a_list_claims_no_more_than_there_is() {
        let broken = Some("is no sound Parquet file: its description is broken");
        // Row groups (field 4): 2^31 structures, of which none is there.
        assert_eq!(refused(&[0x49, 0xFC, 0x80, 0x80, 0x80, 0x80, 0x08, 0]), broken);
        assert_eq!(refused(&[0x18, 0xFF, 0xFF, 0xFF, 0x7F, 0]), broken, "a text of 256 MiB");
        assert_eq!(refused(&[0x1C; 100]), Some("has columns nested too deep"), "structures in structures");
        let many = [vec![0x49, 0xFC, 0x81, 0x80, 0x40], vec![0; 1 << 20], vec![0, 0]].concat();
        assert_eq!(refused(&many), Some("has too large a description: write fewer and larger row groups"));
    }
}
