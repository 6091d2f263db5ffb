//! Plans: where a model would lie, how fast it should go, and what would help where it does not fit; known before anything is allocated.

pub(crate) mod fit;
pub(crate) mod graphs;
pub(crate) mod layout;
pub(crate) mod settings;

use std::path::Path;

use plywood_models::checkpoint::Checkpoint;
use plywood_models::config::Config;
use plywood_models::synthetic::Synthetic;
use serde::Serialize;

use crate::devices::adapter::Kind;
use crate::devices::candidate::DeviceCandidate;
use crate::devices::open::Hardware;
use crate::error::{Error, Result};
use crate::ledger::{HumanBytes, LedgerStage};
use crate::options::{Context, DEFAULT_CONTEXT, Options};
use crate::placement::policy::PlacementPolicy;
use crate::planning::fit::{advise, largest_context};
use crate::planning::graphs::Graphs;
use crate::planning::layout::{Layout, lay_out};
use crate::planning::settings::{ModelRef, Settings};
pub use crate::stage::plan::ChosenKernel;

/// What a model would take and give.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Whether it fits.
    pub fits: bool,
    /// Tokens of a sequence.
    pub context: usize,
    /// Its stages in order; none where it does not fit.
    pub stages: Vec<LedgerStage>,
    /// The kernels of each stage; not in its JSON.
    #[serde(skip)]
    pub kernels: Vec<Vec<ChosenKernel>>,
    /// What is expected of it, where it fits.
    pub expected: Option<Expected>,
    /// Why it does not fit.
    pub reason: Option<String>,
    /// What would fit, where it does not: flags, or what a person would have to change.
    pub advice: Vec<String>,
    /// What was assumed, or changed so that it fits.
    pub notes: Vec<String>,
}

/// A prediction by the arithmetic of [`crate::placement::speed`], which is no measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Expected {
    /// Tokens per second of one sequence that is generated.
    pub decode_tokens_per_s: f64,
    /// Seconds that loading takes.
    pub load_s: f64,
}

/// A layout that is to be loaded, with what led to it.
pub(crate) struct ResolvedLayout {
    pub layout: Layout,
    pub devices: Vec<DeviceCandidate>,
    pub settings: Settings,
    pub notes: Vec<String>,
}

/// Plans a file or directory that [`crate::Model::open`] opens, from its header alone: over `devices` that need not be there, or
/// over this machine's where `None`. A model that does not fit is no error: the plan says why, and what would fit.
///
/// ```no_run
/// use plywood::devices::hypothetical;
/// use plywood::planning::plan;
/// use plywood::{Context, Options};
///
/// let options = Options::default().context(Context::Max);
/// let plan = plan("model.gguf", &options, Some(hypothetical::from_names("2x RTX 3090")?))?;
/// match plan.expected {
///     Some(expected) => println!("{} tokens of context, {:.1} tokens/s", plan.context, expected.decode_tokens_per_s),
///     None => println!("it would fit with {}", plan.advice.join(", or with ")),
/// }
/// # Ok::<(), plywood::Error>(())
/// ```
pub fn plan(path: impl AsRef<Path>, options: &Options, devices: Option<Vec<DeviceCandidate>>) -> Result<Plan> {
    let checkpoint = Checkpoint::open(path)?;
    let config = Config::of(&checkpoint)?;
    plan_source(ModelRef { weights: &checkpoint, config: &config }, options, devices)
}

/// Plans a model of random weights by `SHAPE:FORMAT`.
pub fn plan_synthetic(name: &str, options: &Options, devices: Option<Vec<DeviceCandidate>>) -> Result<Plan> {
    let synthetic = Synthetic::named(name)?;
    plan_source(ModelRef { weights: &synthetic, config: &synthetic.config }, options, devices)
}

fn plan_source(source: ModelRef, options: &Options, devices: Option<Vec<DeviceCandidate>>) -> Result<Plan> {
    let hardware = match devices {
        Some(devices) => Hardware::imagined(devices, options)?,
        None => Hardware::of(options)?,
    };
    match resolve(source, options, &hardware) {
        Ok(resolved) => {
            let ResolvedLayout { layout, devices, settings, mut notes } = resolved;
            notes.extend(layout.stages.iter().filter_map(|stage| devices[stage.device].speed_note()));
            notes.dedup();
            let expected =
                Expected { decode_tokens_per_s: layout.tokens_per_second(), load_s: layout.load_seconds(&devices) };
            let kernels = layout.stages.iter().map(|stage| stage.plan.kernels()).collect();
            let (stages, context) = (layout.ledger.stages, settings.context);
            let advice = Vec::new();
            Ok(Plan { fits: true, context, stages, kernels, expected: Some(expected), reason: None, advice, notes })
        }
        Err(Error::DoesNotFit { reason, advice }) => {
            let context = settings(source.config, options)?.context;
            let (stages, kernels, notes) = (Vec::new(), Vec::new(), Vec::new());
            Ok(Plan { fits: false, context, stages, kernels, expected: None, reason: Some(reason), advice, notes })
        }
        Err(error) => Err(error),
    }
}

/// Lays a model out as the options say, or as fits where they allow it.
pub(crate) fn resolve(source: ModelRef, options: &Options, hardware: &Hardware) -> Result<ResolvedLayout> {
    let settings = settings(source.config, options)?;
    let graphs = Graphs::read(source.weights, source.config)?;
    let (mut devices, policy) = (hardware.devices.clone(), &hardware.policy);
    let mut layout = lay_out(&graphs, &settings, &devices, policy);
    let is_searched = matches!(policy, PlacementPolicy::Best | PlacementPolicy::InOrder);
    // Only where several devices would be used it matters how fast they are.
    if layout.as_ref().is_ok_and(|layout| layout.stages.len() > 1) && is_searched && hardware.measure(&mut devices) {
        // What fits is kept where other cuts would not.
        layout = lay_out(&graphs, &settings, &devices, policy).or(layout);
    }
    let reason = match layout {
        Ok(layout) => {
            let note = (options.context == Context::Max)
                .then(|| format!("the context is {}, the model's own", settings.context));
            return Ok(resolved(layout, devices, settings, note));
        }
        Err(Error::DoesNotFit { reason, .. }) => reason,
        Err(Error::Binding { .. }) if options.context == Context::Max => {
            "a cache of the model's own context is too large".into()
        }
        Err(error) => return Err(error),
    };
    if options.context == Context::Max
        && let Some((settings, layout)) = largest_context(&graphs, &settings, &devices, policy)?
    {
        let note = format!("the context is {}, the largest that fits", settings.context);
        return Ok(resolved(layout, devices, settings, Some(note)));
    }
    let mut advice = advise(&graphs, &settings, &devices, policy, &hardware.others)?;
    let first = advice.iter_mut().find_map(|advice| Some((advice.what.clone(), advice.applied.take()?)));
    if options.fit
        && let Some((what, (settings, devices, layout))) = first
    {
        let note = format!("{reason}; so that it fits, this was applied: {what}");
        return Ok(resolved(layout, devices, settings, Some(note)));
    }
    Err(Error::DoesNotFit { reason, advice: advice.into_iter().map(|advice| advice.what).collect() })
}

/// A layout with what a person should know of it.
fn resolved(layout: Layout, devices: Vec<DeviceCandidate>, settings: Settings, note: Option<String>) -> ResolvedLayout {
    let mut notes = Vec::from_iter(note);
    let has_gpu = layout.stages.iter().any(|stage| devices[stage.device].is_gpu());
    for stage in &layout.stages {
        let (device, layers) = (&devices[stage.device], &stage.nodes.layers);
        let (index, label) = (device.facts.index, device.facts.label());
        if device.memory_assumed && device.memory < u64::MAX {
            let (memory, from) = (HumanBytes(device.memory), device.memory_from);
            notes.push(format!(
                "{label} is taken to have {memory}, {from}; set Options::memory of adapter {index} to say otherwise"
            ));
        }
        if has_gpu && device.facts.kind == Kind::Host {
            notes.push(format!("layers {} to {} run on the CPU", layers.start, layers.end.saturating_sub(1)));
        }
    }
    notes.dedup();
    ResolvedLayout { layout, devices, settings, notes }
}

/// What decides the bytes, from the options.
fn settings(config: &Config, options: &Options) -> Result<Settings> {
    Ok(Settings {
        context: context(config, options.context)?,
        kv_type: options.kv_type,
        quantize: options.quantize,
        stored: None,
        exact: options.exact,
        sessions: options.sessions,
        threads: options.threads,
        step_tokens: options.step_tokens,
        step_rows: options.step_rows,
        choices: options.hooks.choices.clone(),
        max_shard: options.hooks.max_shard,
    })
}

/// The context asked for, or the default.
fn context(config: &Config, asked: Context) -> Result<usize> {
    let context = match asked {
        Context::Default => config.context.min(DEFAULT_CONTEXT),
        Context::Tokens(tokens) => tokens,
        Context::Max => config.context,
    };
    if context == 0 || context > config.context {
        let reason = format!("{context} is not from 1 to {}, the model's own", config.context);
        return Err(Error::Option { option: "Options::context", reason });
    }
    Ok(context)
}

#[cfg(test)]
mod tests;
