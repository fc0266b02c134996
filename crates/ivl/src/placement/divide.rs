//! The division of a model's layers among devices, by memory.

use ivl_models::LayerBytes;

/// A device that is to have some of a model's layers.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    /// Its free memory, in bytes or in any other unit that all devices share.
    pub(super) free: f64,
    /// Bytes of other models there.
    pub(super) used: u64,
    /// Bytes that the layers would take there: devices may keep weights in different types.
    pub(super) bytes: LayerBytes,
}

impl Budget {
    /// Bytes of the blocks `from..to` and, on the first and the last device, of the embeddings and the head.
    pub(super) fn bytes_of(&self, from: usize, to: usize) -> u64 {
        let LayerBytes { embedding, blocks, head } = &self.bytes;
        let first = if from == 0 { *embedding } else { 0 };
        let last = if to == blocks.len() { *head } else { 0 };
        first + blocks[from..to].iter().sum::<u64>() + last
    }

    /// The used share of its memory with these blocks.
    fn load(&self, from: usize, to: usize) -> f64 {
        (self.used + self.bytes_of(from, to)) as f64 / self.free
    }
}

/// The first block of each device, so that the fullest device is as empty as can be: in proportion to free memory, as far as whole
/// layers allow. Every device has a block; `divides_before` says where a device may begin. `None` if there is no such division.
pub(super) fn divide(devices: &[Budget], divides_before: impl Fn(usize) -> bool) -> Option<Vec<usize>> {
    let layers = devices[0].bytes.blocks.len();
    // Of the devices so far, which end before a block: the largest load, and the first block of each device.
    let mut best: Vec<Option<(f64, Vec<usize>)>> = vec![None; layers + 1];
    best[0] = Some((0.0, Vec::new()));
    for device in devices {
        let mut next = vec![None; layers + 1];
        for (from, before) in best.iter().enumerate() {
            let Some((load, firsts)) = before.as_ref().filter(|_| from == 0 || divides_before(from)) else {
                continue;
            };
            for (to, place) in next.iter_mut().enumerate().skip(from + 1) {
                let load = load.max(device.load(from, to));
                if place.as_ref().is_none_or(|(other, _)| load < *other) {
                    *place = Some((load, [firsts.as_slice(), &[from]].concat()));
                }
            }
        }
        best = next;
    }
    best.pop().flatten().map(|(_, firsts)| firsts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twelve blocks of 10 bytes.
    fn devices(free: &[f64], used: &[u64], [embedding, head]: [u64; 2]) -> Vec<Budget> {
        let bytes = LayerBytes { embedding, blocks: vec![10; 12], head };
        let device = |(&free, &used): (&f64, &u64)| Budget { free, used, bytes: bytes.clone() };
        free.iter().zip(used).map(device).collect()
    }

    fn firsts(devices: &[Budget]) -> Vec<usize> {
        divide(devices, |_| true).expect("as many blocks as devices")
    }

    #[test]
    fn layers_are_in_proportion_to_free_memory() {
        assert_eq!(firsts(&devices(&[1.0, 1.0], &[0, 0], [0, 0])), [0, 6]);
        assert_eq!(firsts(&devices(&[2.0, 1.0, 1.0], &[0, 0, 0], [0, 0])), [0, 6, 9]);
        assert_eq!(firsts(&devices(&[80e9, 40e9], &[0, 0], [0, 0])), [0, 8]);
    }

    #[test]
    fn embeddings_and_head_count_where_they_are() {
        assert_eq!(firsts(&devices(&[1.0, 1.0], &[0, 0], [40, 0])), [0, 4]);
        assert_eq!(firsts(&devices(&[1.0, 1.0], &[0, 0], [0, 40])), [0, 8]);
    }

    #[test]
    fn a_device_that_other_models_use_gets_less() {
        assert_eq!(firsts(&devices(&[1.0, 1.0], &[0, 60], [0, 0])), [0, 9]);
        assert_eq!(firsts(&devices(&[1.0, 1.0], &[0, 900], [0, 0])), [0, 11], "but every device has a block");
    }

    #[test]
    fn a_device_that_keeps_weights_in_fewer_bytes_gets_more_layers() {
        let mut mixed = devices(&[1.0, 1.0], &[0, 0], [0, 0]);
        mixed[1].bytes.blocks = vec![5; 12];
        assert_eq!(firsts(&mixed), [0, 4]);
    }

    #[test]
    fn devices_begin_where_the_model_divides() {
        let two = devices(&[1.0, 1.0], &[0, 0], [0, 0]);
        assert_eq!(divide(&two, |layer| layer <= 2 || layer > 9), Some(vec![0, 2]));
        assert_eq!(divide(&two, |_| false), None);
        let three = devices(&[1.0; 3], &[0; 3], [0, 0]);
        assert_eq!(divide(&three, |layer| layer == 5), None, "one boundary makes two parts");
    }
}
