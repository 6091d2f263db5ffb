//! The search for devices and cuts: over sets of devices, exact for all that a placement is measured by.

use std::cmp::Reverse;
use std::ops::Range;

use super::demand::Demand;
use super::device::Device;
use super::speed::Picoseconds;

/// The most devices among which [`place`] chooses: it looks at every set of them.
pub const MAX_DEVICES: usize = 10;

/// Some layers on a device: the first stage has the embedding too, the last the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The device, by its place in the list.
    pub device: usize,
    /// Its layers; never none.
    pub layers: Range<usize>,
}

/// Why there is no placement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoPlace {
    /// Bytes that the model takes on one device.
    pub needed: u64,
    /// Bytes that the devices have together; those of a pool count once.
    pub available: u64,
}

/// A device that takes longer than this many times the fastest for the whole model is slow.
const SLOW: Picoseconds = 4;

/// What is least in the best of placements over a set of devices: the time, then how full the fullest device is (of 2⁴⁰, finer than a byte), so
/// that equal devices share equally.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Measure {
    time: Picoseconds,
    fullest: u64,
}

/// The best placement of the first layers, by their number, and which device has the last of them from which layer on.
type Row = Vec<Option<(Measure, usize, usize)>>;

/// What ranges of layers cost on a device, from sums over the layers before each.
struct Ranges<'a> {
    demand: &'a Demand,
    device: &'a Device,
    bytes: Vec<u64>,
    times: Vec<Picoseconds>,
    cut: Picoseconds,
}

impl<'a> Ranges<'a> {
    fn new(demand: &'a Demand, device: &'a Device) -> Ranges<'a> {
        let (mut bytes, mut times) = (vec![0u64], vec![0u64]);
        for (layer, cost) in demand.layers.iter().enumerate() {
            bytes.push(bytes[layer].saturating_add(cost.bytes(device)));
            times.push(times[layer].saturating_add(demand.layer_time(device, layer)));
        }
        Ranges { demand, device, bytes, times, cut: demand.cut_time(device) }
    }

    /// Bytes of layers from `start` to before `end`, with the ends that go with them.
    fn bytes(&self, start: usize, end: usize) -> u64 {
        let demand = self.demand;
        let mut bytes = (self.bytes[end] - self.bytes[start]).saturating_add(demand.stage);
        if start == 0 {
            bytes = bytes.saturating_add(demand.before.bytes(self.device));
        }
        if end == demand.layers.len() {
            let tied = if start == 0 { demand.tied } else { 0 };
            bytes = bytes.saturating_add(demand.after.bytes(self.device).saturating_sub(tied));
        }
        bytes
    }

    fn time(&self, start: usize, end: usize) -> Picoseconds {
        let sides = u64::from(start > 0) + u64::from(end < self.demand.layers.len());
        (self.times[end] - self.times[start]).saturating_add(self.cut.saturating_mul(sides))
    }

    /// Improves the placements in `row` by those of `before` with some more layers on this device.
    fn extend(&self, index: usize, before: &Row, row: &mut Row) {
        for (start, best) in before.iter().enumerate() {
            let Some((measure, ..)) = best else { continue };
            for (end, best) in row.iter_mut().enumerate().skip(start + 1) {
                let bytes = self.bytes(start, end);
                if bytes > self.device.memory {
                    break;
                }
                let time = measure.time.saturating_add(self.time(start, end));
                // How full it is decides nothing where it takes longer.
                if best.is_some_and(|(measure, ..)| time > measure.time) {
                    continue;
                }
                let full = ((u128::from(bytes) << 40) / u128::from(self.device.memory.max(1))) as u64;
                let extended = Measure { time, fullest: measure.fullest.max(full) };
                if best.is_none_or(|(measure, ..)| extended < measure) {
                    *best = Some((extended, index, start));
                }
            }
        }
    }
}

/// A row before any device: no layers are placed.
fn nothing(layers: usize) -> Row {
    let mut row = vec![None; layers + 1];
    row[0] = Some((Measure { time: 0, fullest: 0 }, 0, 0));
    row
}

/// Places a model over the fewest devices that hold it, and of these over the fastest, layers cut so that a token is finished soonest.
///
/// A device that is slower than a quarter of the fastest takes part only where the fast ones do not hold the model together, and a
/// last resort only where no others do; of these as few as can be, and beside them whichever others make it fastest. The order in
/// which devices are listed does not matter. Of more than [`MAX_DEVICES`] those with the most memory are looked at.
pub fn place(demand: &Demand, devices: &[Device]) -> Result<Vec<Stage>, NoPlace> {
    let layers = demand.layers.len();
    let pace = |device: &Device| {
        (0..layers).map(|layer| demand.layer_time(device, layer)).fold(0, Picoseconds::saturating_add)
    };
    let fastest = devices.iter().filter(|device| !device.last_resort).map(pace).min().unwrap_or(0);
    let is_slow = |device: &Device| pace(device) > fastest.saturating_mul(SLOW);
    let mut order: Vec<usize> = (0..devices.len()).collect();
    if order.len() > MAX_DEVICES {
        order.sort_by_key(|index| (devices[*index].last_resort, Reverse(devices[*index].memory), *index));
        order.truncate(MAX_DEVICES);
    }
    // Ties are decided by what devices are, and only for twins by where they stand.
    order.sort_by_cached_key(|index| {
        let device = &devices[*index];
        (device.last_resort, pace(device), Reverse(device.memory), device.name.clone(), *index)
    });
    let twins: Vec<bool> = (0..order.len()).map(|at| at > 0 && are_twins(devices, order[at - 1], order[at])).collect();
    let ranges: Vec<Ranges> = order.iter().map(|index| Ranges::new(demand, &devices[*index])).collect();
    let mut rows = vec![nothing(layers)];
    let mut best = None;
    for set in 1usize..1 << order.len() {
        let is_member = |member: usize| set >> member & 1 == 1;
        // Any other twins would be placed as the first ones are.
        if (1..order.len()).any(|member| twins[member] && is_member(member) && !is_member(member - 1)) {
            rows.push(Row::new());
            continue;
        }
        let members: Vec<usize> = (0..order.len()).filter(|member| is_member(*member)).collect();
        let mut row: Row = vec![None; layers + 1];
        if !share_memory(members.iter().map(|member| &devices[order[*member]])) {
            // Backwards, so that of equal devices the first one has the first layers, and of twins only the last comes last.
            let is_last_twin = |member: &&usize| !(twins.get(**member + 1) == Some(&true) && is_member(**member + 1));
            let backwards = members.iter().rev().filter(is_last_twin);
            backwards.for_each(|member| ranges[*member].extend(*member, &rows[set ^ 1 << member], &mut row));
        }
        if let Some((measure, ..)) = row[layers] {
            let count =
                |is: &dyn Fn(&Device) -> bool| members.iter().filter(|member| is(&devices[order[**member]])).count();
            let last = count(&|device| device.last_resort);
            let slow = count(&|device| !device.last_resort && is_slow(device));
            let key = (last, slow, if last + slow == 0 { members.len() } else { 0 }, measure);
            if best.is_none_or(|(least, _)| key < least) {
                best = Some((key, set));
            }
        }
        rows.push(row);
    }
    let (_, mut set) = best.ok_or_else(|| no_place(demand, devices, pools(devices)))?;
    let (mut stages, mut end) = (Vec::new(), layers);
    while set != 0 {
        let (_, member, start) = rows[set][end].expect("the row was reached from here");
        stages.push(Stage { device: order[member], layers: start..end });
        (set, end) = (set ^ 1 << member, start);
    }
    stages.reverse();
    Ok(stages)
}

/// Whether two devices differ in nothing but their place in the list, each with a memory of its own.
fn are_twins(devices: &[Device], one: usize, other: usize) -> bool {
    let alone = |index: usize| devices.iter().filter(|device| device.pool == devices[index].pool).count() == 1;
    alone(one) && alone(other) && devices[one] == Device { pool: devices[one].pool, ..devices[other].clone() }
}

/// Cuts a model over all of the devices in their order, so that a token is finished soonest; last resorts are left out where they are
/// not needed, and so are devices at the end where there are fewer layers. What devices share of a memory must have been divided.
pub fn in_order(demand: &Demand, devices: &[Device]) -> Result<Vec<Stage>, NoPlace> {
    let layers = demand.layers.len();
    let among = |last_resorts: bool| {
        let chosen = (0..devices.len()).filter(|index| last_resorts || !devices[*index].last_resort);
        let chosen: Vec<usize> = chosen.take(layers).collect();
        let mut rows = vec![nothing(layers)];
        for (before, index) in chosen.iter().enumerate() {
            let mut row = vec![None; layers + 1];
            Ranges::new(demand, &devices[*index]).extend(*index, &rows[before], &mut row);
            rows.push(row);
        }
        let (mut stages, mut end) = (Vec::new(), layers);
        for row in rows[1..].iter().rev() {
            let (_, device, start) = row[end]?;
            stages.push(Stage { device, layers: start..end });
            end = start;
        }
        stages.reverse();
        (!stages.is_empty()).then_some(stages)
    };
    among(false)
        .or_else(|| among(true))
        .ok_or_else(|| no_place(demand, devices, devices.iter().map(|device| device.memory)))
}

fn share_memory<'a>(devices: impl Iterator<Item = &'a Device>) -> bool {
    let mut pools: Vec<usize> = devices.map(|device| device.pool).collect();
    let count = pools.len();
    pools.sort_unstable();
    pools.dedup();
    pools.len() < count
}

/// What is missing, where devices have this many bytes.
pub(crate) fn no_place(demand: &Demand, devices: &[Device], available: impl Iterator<Item = u64>) -> NoPlace {
    let needed = devices.iter().map(|device| demand.bytes(device, 0..demand.layers.len())).min().unwrap_or(0);
    NoPlace { needed, available: available.fold(0, u64::saturating_add) }
}

/// The memory of each pool.
fn pools(devices: &[Device]) -> impl Iterator<Item = u64> {
    let mut pools: Vec<(usize, u64)> = devices.iter().map(|device| (device.pool, device.memory)).collect();
    pools.sort_unstable_by_key(|(pool, memory)| (*pool, Reverse(*memory)));
    pools.dedup_by_key(|(pool, _)| *pool);
    pools.into_iter().map(|(_, memory)| memory)
}
