//! The sizes by which a model knows its own caches.

use std::fmt;

use super::KvFormat;

/// What one layer of a model keeps of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerShape {
    /// Keys and values of every position.
    Keys {
        /// Number of key heads.
        heads: usize,
        /// Width of a head.
        dim: usize,
    },
    /// A state.
    State {
        /// Positions and channels of the last inputs of a convolution.
        tail: Option<[usize; 2]>,
        /// Heads, and the widths of a key and of a value.
        memory: Option<[usize; 3]>,
    },
}

impl LayerShape {
    /// Numbers that a state has for one text; none for keys, which grow with it.
    pub fn state_numbers(&self) -> usize {
        match self {
            Self::Keys { .. } => 0,
            Self::State { tail, memory } => {
                let product = |sizes: Option<&[usize]>| sizes.map_or(0, |sizes| sizes.iter().product());
                product(tail.as_ref().map(|sizes| &sizes[..]))
                    + product(memory.as_ref().map(|sizes| &sizes[..]))
            }
        }
    }

    /// Bytes that keys and values take for one position; none for a state.
    pub fn bytes_per_position(&self, format: KvFormat) -> usize {
        match self {
            Self::Keys { heads, dim } => 2 * heads * format.bytes(*dim),
            Self::State { .. } => 0,
        }
    }
}

impl fmt::Display for LayerShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys { heads, dim } => write!(f, "{heads} key heads of width {dim}"),
            Self::State { tail: None, memory: None } => write!(f, "an empty layer"),
            Self::State { tail, memory } => {
                let [positions, channels] = tail.unwrap_or_default();
                write!(f, "a state of {positions} inputs of {channels} channels")?;
                match memory {
                    Some([heads, keys, values]) => {
                        write!(f, " and {heads} memories of {keys} by {values}")
                    }
                    None => Ok(()),
                }
            }
        }
    }
}
