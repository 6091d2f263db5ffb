//! Layers as a person wants them: by shares, or by ranges.

use std::ops::Range;

use crate::error::{Error, Result};

/// Layers in proportion to shares, one range for each share; a share of 0 gets none.
///
/// Shares are whole numbers of any size; their sum must not be 0.
pub fn split(layers: usize, shares: &[u32]) -> Result<Vec<Range<usize>>> {
    let total: u64 = shares.iter().map(|share| u64::from(*share)).sum();
    if total == 0 {
        return Err(Error::Option { option: "Layers::Split", reason: "at least one share must be more than 0".into() });
    }
    let (mut given, mut first) = (0u64, 0usize);
    let mut ranges = Vec::new();
    for share in shares {
        given += u64::from(*share);
        // Rounding the running sum, so that the shares' errors do not add up.
        let last = ((layers as u64 * given * 2 + total) / (total * 2)) as usize;
        ranges.push(first..last);
        first = last;
    }
    Ok(ranges)
}

/// Checks that ranges of layers, each with the number of its device, have every layer once and in order.
pub fn ranges(layers: usize, given: &[(usize, Range<usize>)], devices: usize) -> Result<()> {
    let wrong = |reason: String| Err(Error::Option { option: "Layers::Ranges", reason });
    let mut next = 0;
    for (device, range) in given {
        if *device >= devices {
            return wrong(format!("there is no device {device} among {devices}; they count from 0"));
        }
        if range.start != next || range.is_empty() {
            return wrong(format!(
                "layer {next} must come next, not {}; every layer is named once and in order, such as 0=0-19,1=20-31",
                range.start
            ));
        }
        next = range.end;
    }
    if next == layers {
        Ok(())
    } else {
        wrong(format!("the model has layers 0 to {}, and {next} are named", layers.saturating_sub(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_follow_shares() {
        let check = |shares: &[u32], cuts: &[usize]| {
            let ranges = split(10, shares).expect("the shares can be used");
            let begins: Vec<usize> = ranges.iter().map(|range| range.start).chain([10]).collect();
            assert_eq!(begins, cuts);
        };
        check(&[1], &[0, 10]);
        check(&[3, 1], &[0, 8, 10]);
        check(&[1, 1, 1], &[0, 3, 7, 10]);
        check(&[0, 1], &[0, 0, 10]);
        check(&[u32::MAX, u32::MAX], &[0, 5, 10]);
        assert!(split(10, &[0, 0]).is_err());
    }

    #[test]
    fn ranges_name_every_layer_once() {
        let check = |given: &[(usize, Range<usize>)], wrong: Option<&str>| {
            let checked = ranges(10, given, 2);
            match (checked, wrong) {
                (Ok(()), None) => {}
                (Err(error), Some(says)) => assert!(error.to_string().contains(says), "{error}"),
                (checked, wrong) => panic!("{checked:?}, not {wrong:?}"),
            }
        };
        check(&[(0, 0..10)], None);
        check(&[(1, 0..4), (0, 4..10)], None);
        check(&[(0, 0..4), (1, 4..8), (0, 8..10)], None);
        check(&[(0, 0..4), (2, 4..10)], Some("no device 2"));
        check(&[(0, 0..4), (1, 5..10)], Some("layer 4 must come next, not 5"));
        check(&[(0, 0..6), (1, 5..10)], Some("layer 6 must come next, not 5"));
        check(&[(0, 0..0), (1, 0..10)], Some("layer 0 must come next"));
        check(&[(0, 0..9)], Some("layers 0 to 9, and 9 are named"));
        check(&[(0, 0..11)], Some("layers 0 to 9, and 11 are named"));
        check(&[], Some("0 are named"));
    }
}
