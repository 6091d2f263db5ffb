//! Where a model does not fit: what would, each tried by laying it out.

use plywood_kernels::Format;
use plywood_kernels::formats;
use plywood_kernels::kv_cache::KvType;

use crate::devices::candidate::DeviceCandidate;
use crate::devices::select::Alternative;
use crate::error::{Error, Result};
use crate::placement::policy::PlacementPolicy;
use crate::planning::graphs::Graphs;
use crate::planning::layout::{Layout, lay_out};
use crate::planning::settings::Settings;

/// The shortest context that is worth advising, in tokens, where half of what was asked for is not shorter.
const SHORTEST: usize = 1024;

/// Contexts are looked for in multiples of this many tokens.
const CONTEXT_STEP: usize = 256;

/// Something with which a model fits.
pub(crate) struct Advice {
    /// What a person does, as options where these say it.
    pub what: String,
    /// The settings, the devices and the layout; `None` where the program can't do it by itself.
    pub applied: Option<(Settings, Vec<DeviceCandidate>, Layout)>,
}

/// The layout, or `None` where there is no room.
fn try_out(
    graphs: &Graphs,
    settings: &Settings,
    devices: &[DeviceCandidate],
    policy: &PlacementPolicy,
) -> Result<Option<Layout>> {
    match lay_out(graphs, settings, devices, policy) {
        Ok(layout) => Ok(Some(layout)),
        Err(Error::DoesNotFit { .. } | Error::Binding { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The shortest context that is worth advising, in steps.
fn shortest(settings: &Settings) -> usize {
    SHORTEST.min(settings.context / 2).div_ceil(CONTEXT_STEP).max(1)
}

/// The layout of the largest context below that of the settings; `None` where not even a short one fits.
pub(crate) fn largest_context(
    graphs: &Graphs,
    settings: &Settings,
    devices: &[DeviceCandidate],
    policy: &PlacementPolicy,
) -> Result<Option<(Settings, Layout)>> {
    let mut best = None;
    // Multiples of the step: `low` fits or is too short, `high` does not fit.
    let (mut low, mut high) = (shortest(settings) - 1, settings.context.div_ceil(CONTEXT_STEP));
    while low + 1 < high {
        let middle = low.midpoint(high);
        let settings = Settings { context: middle * CONTEXT_STEP, ..settings.clone() };
        match try_out(graphs, &settings, devices, policy)? {
            Some(layout) => {
                best = Some((settings, layout));
                low = middle;
            }
            None => high = middle,
        }
    }
    Ok(best)
}

/// What would fit, in the order in which it is to be preferred: a shorter context, a smaller cache, fewer bits, other devices; several of
/// these at once where no flag alone is enough.
pub(crate) fn advise(
    graphs: &Graphs,
    settings: &Settings,
    devices: &[DeviceCandidate],
    policy: &PlacementPolicy,
    others: &[Alternative],
) -> Result<Vec<Advice>> {
    let mut advice = Vec::new();
    let with = |changed: Settings| -> Result<Option<(Settings, Vec<DeviceCandidate>, Layout)>> {
        Ok(try_out(graphs, &changed, devices, policy)?.map(|layout| (changed, devices.to_vec(), layout)))
    };
    if let Some((settings, layout)) = largest_context(graphs, settings, devices, policy)? {
        let what = format!("Options::context = {}", settings.context);
        advice.push(Advice { what, applied: Some((settings, devices.to_vec(), layout)) });
    }
    let mut kv_types: Vec<KvType> = KvType::ALL.to_vec();
    kv_types.retain(|kv_type| !settings.exact && size(*kv_type) < size(settings.kv_type));
    kv_types.sort_by_key(|kv_type| std::cmp::Reverse(size(*kv_type)));
    for kv_type in kv_types.iter().copied() {
        if let Some(applied) = with(Settings { kv_type, ..settings.clone() })? {
            advice.push(Advice { what: format!("Options::kv_type = {}", kv_type.name()), applied: Some(applied) });
            break;
        }
    }
    let (bits, is_float) = matrices(graphs, settings);
    let mut smaller: Vec<Format> = formats::GGUF.into_iter().filter(|format| format.encode.is_some()).collect();
    smaller.retain(|format| !format.is_float() && bits_of(*format) < bits);
    smaller.sort_by(|a, b| bits_of(*b).total_cmp(&bits_of(*a)));
    for format in smaller.iter().copied() {
        if is_float {
            if let Some(applied) = with(Settings { quantize: Some(format), ..settings.clone() })? {
                advice.push(Advice { what: format!("Options::quantize = {format}"), applied: Some(applied) });
                break;
            }
        } else if with(Settings { stored: Some(format), ..settings.clone() })?.is_some() {
            let (name, bits) = (format.name.to_uppercase(), bits_of(format));
            let what = format!("a file of the model in about {name} ({bits:.1} bits to a weight)");
            advice.push(Advice { what, applied: None });
            break;
        }
    }
    for other in others {
        if let Some(layout) = try_out(graphs, settings, &other.devices, &other.policy)? {
            let applied = other.is_there.then(|| (settings.clone(), other.devices.clone(), layout));
            advice.push(Advice { what: other.what.clone(), applied });
            break;
        }
    }
    if advice.iter().all(|advice| advice.applied.is_none()) {
        let here =
            Alternative { what: String::new(), devices: devices.to_vec(), policy: policy.clone(), is_there: true };
        let kv_types = [&[settings.kv_type], kv_types.as_slice()].concat();
        let quantised = smaller.into_iter().filter(|_| is_float).map(Some);
        let quantised: Vec<Option<Format>> = std::iter::once(settings.quantize).chain(quantised).collect();
        for place in std::iter::once(&here).chain(others.iter().filter(|other| other.is_there)) {
            if let Some(together) = together(graphs, settings, place, &kv_types, &quantised)? {
                advice.insert(0, together);
                break;
            }
        }
    }
    Ok(advice)
}

/// Several changes at once with which a model fits some devices: as little of its bits, of its context and of the cache's bits, in this order,
/// is given up as is found. The lists begin with what was asked for, and have ever fewer bits.
fn together(
    graphs: &Graphs,
    asked: &Settings,
    place: &Alternative,
    kv_types: &[KvType],
    quantised: &[Option<Format>],
) -> Result<Option<Advice>> {
    let try_out = |settings: &Settings| try_out(graphs, settings, &place.devices, &place.policy);
    let first = |tried: Vec<Settings>| -> Result<Option<(Settings, Layout)>> {
        for settings in tried {
            if let Some(layout) = try_out(&settings)? {
                return Ok(Some((settings, layout)));
            }
        }
        Ok(None)
    };
    let least = Settings {
        context: (shortest(asked) * CONTEXT_STEP).min(asked.context),
        kv_type: kv_types.last().copied().unwrap_or(asked.kv_type),
        quantize: quantised.last().copied().unwrap_or(asked.quantize),
        ..asked.clone()
    };
    if try_out(&least)?.is_none() {
        return Ok(None);
    }
    // Each step has what fitted before among what it tries.
    let tried = quantised.iter().map(|quantize| Settings { quantize: *quantize, ..least.clone() });
    let Some((mut settings, mut layout)) = first(tried.collect())? else { return Ok(None) };
    let longest = Settings { context: asked.context, ..settings.clone() };
    match try_out(&longest)? {
        Some(longer) => (settings, layout) = (longest, longer),
        None => {
            if let Some(longer) = largest_context(graphs, &longest, &place.devices, &place.policy)? {
                (settings, layout) = longer;
            }
        }
    }
    let tried = kv_types.iter().map(|kv_type| Settings { kv_type: *kv_type, ..settings.clone() });
    if let Some(wider) = first(tried.collect())? {
        (settings, layout) = wider;
    }
    let mut changes = Vec::new();
    if settings.context != asked.context {
        changes.push(format!("Options::context = {}", settings.context));
    }
    if settings.kv_type != asked.kv_type {
        changes.push(format!("Options::kv_type = {}", settings.kv_type.name()));
    }
    if let Some(format) = settings.quantize.filter(|_| settings.quantize != asked.quantize) {
        changes.push(format!("Options::quantize = {format}"));
    }
    changes.extend(Some(place.what.clone()).filter(|what| !what.is_empty()));
    Ok(Some(Advice { what: changes.join(" and "), applied: Some((settings, place.devices.clone(), layout)) }))
}

/// Bytes of a head of many numbers, for comparing.
fn size(kv_type: KvType) -> u64 {
    kv_type.head_bytes(1024)
}

fn bits_of(format: Format) -> f64 {
    format.block_bytes as f64 * 8.0 / format.block_elements as f64
}

/// The bits to a weight that a model's matrices have, and whether most of them are floats.
fn matrices(graphs: &Graphs, settings: &Settings) -> (f64, bool) {
    let graph = graphs.of_context(settings.context);
    let (mut elements, mut bits, mut floats) = (0.0, 0.0, 0.0);
    for weight in graph.matrices() {
        let weight = &graph.weights[weight.0];
        for part in &weight.parts {
            let count = (part.rows * weight.columns) as f64;
            let format = settings.quantize.filter(|_| part.format.is_float()).unwrap_or(part.format);
            elements += count;
            bits += count * bits_of(format);
            floats += if part.format.is_float() { count } else { 0.0 };
        }
    }
    (bits / f64::max(elements, 1.0), floats * 2.0 > elements)
}
