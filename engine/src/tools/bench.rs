//! Measuring a model: prompt processing and generation, as llama-bench names them.

use std::time::Instant;

use plywood_kernels::graph::{Node, Output};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::model::Model;
use crate::session::Rows;
use crate::session::cancel::Cancel;
use crate::session::generation::Request;
use crate::session::sampler::Sampling;
use crate::stage::KernelTimes;
use crate::stage::plan::StagePlan;

/// One test: a prompt or tokens one by one, after this many in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Test {
    /// Tokens of a prompt.
    pub prompt: usize,
    /// Tokens generated one by one.
    pub generate: usize,
    /// Tokens in the cache before.
    pub depth: usize,
}

impl Test {
    /// Tokens that the context must hold.
    pub fn tokens(&self) -> usize {
        self.prompt.saturating_add(self.generate).saturating_add(self.depth)
    }

    /// The name that llama-bench gives: `pp512`, `tg128 @ d4096`.
    pub fn name(&self) -> String {
        let name = if self.prompt > 0 { format!("pp{}", self.prompt) } else { format!("tg{}", self.generate) };
        if self.depth > 0 { format!("{name} @ d{}", self.depth) } else { name }
    }
}

/// The median and the extremes of several runs; of an even number of them the median is the mean of the two in the middle.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of at least one number.
    pub fn of(mut numbers: Vec<f64>) -> Spread {
        numbers.sort_by(f64::total_cmp);
        let last = numbers.len() - 1;
        Spread { median: (numbers[last / 2] + numbers[last.div_ceil(2)]) / 2.0, min: numbers[0], max: numbers[last] }
    }
}

/// What a test measured.
#[derive(Debug, Clone, Serialize)]
pub struct Measurement {
    /// The test's name.
    pub test: String,
    /// The devices.
    pub adapter: String,
    /// Tokens per second.
    pub tokens_per_s: Spread,
    /// Bytes read per second as a share of the device's own measured copy bandwidth; only for generation on one GPU.
    pub bandwidth_share: Option<f64>,
    /// Dispatches of a step, on average.
    pub dispatches: u64,
    /// The CPU's encoding of a step's commands, in seconds, on average.
    pub encode_s: f64,
    /// Bytes of weights and cache that a generation step reads.
    pub bytes_per_step: u64,
    /// The share of the last run's time in which at least two stages were busy; `None` where there is only one.
    pub overlap: Option<f64>,
    /// Where a step's time goes, the kernel that takes most of it first; only where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernels: Option<Vec<KernelShare>>,
}

/// What a kernel takes of a step.
#[derive(Debug, Clone, Serialize)]
pub struct KernelShare {
    /// The device.
    pub adapter: String,
    /// The kernel: a shader, or on the host an op.
    pub kernel: String,
    /// The candidate that was chosen of its op.
    pub candidate: String,
    /// How often it runs in a step, on average.
    pub dispatches: f64,
    /// Seconds of a step, on average.
    pub seconds: f64,
    /// The share of what all kernels of all devices take.
    pub share: f64,
}

/// Runs a test; ends with [`Error::Cancelled`] once `on` says false. It is asked before each piece of a prompt and after each token, and is
/// given what cancels the session that runs.
pub fn measure(model: &Model, test: Test, repetitions: u32, on: impl Fn(Cancel) -> bool) -> Result<Measurement> {
    let mut rates = Vec::new();
    let before = model.times();
    let mut begin = Instant::now();
    for repetition in 0..=repetitions {
        if repetition == repetitions {
            begin = Instant::now();
        }
        let rate = run_once(model, test, &on)?;
        // The first run compiles kernels.
        if repetition > 0 {
            rates.push(rate);
        }
    }
    let after = model.times();
    let sum = |get: fn(&crate::stage::StageTimes) -> f64| -> f64 {
        after.iter().map(get).sum::<f64>() - before.iter().map(get).sum::<f64>()
    };
    let steps = (sum(|times| times.steps as f64) / after.len() as f64).max(1.0);
    let tokens_per_s = Spread::of(rates);
    let bytes_per_step = bytes_per_step(model, test.depth + test.generate / 2);
    let bandwidth = if test.generate > 0 && after.len() == 1 { copy_bandwidth(model) } else { None };
    let ledger = model.ledger();
    let adapters: Vec<&str> = ledger.stages.iter().map(|stage| stage.adapter.as_str()).collect();
    Ok(Measurement {
        test: test.name(),
        adapter: adapters.join(" + "),
        tokens_per_s,
        bandwidth_share: bandwidth.map(|bandwidth| bytes_per_step as f64 * tokens_per_s.median / bandwidth),
        dispatches: (sum(|times| times.dispatches as f64) / steps).round() as u64,
        encode_s: sum(|times| times.encode.as_secs_f64()) / steps,
        bytes_per_step,
        overlap: (after.len() > 1).then(|| crate::stage::overlap(&after, begin)),
        kernels: None,
    })
}

/// Runs a test once, with every dispatch in a pass of its own that the device times; devices that cannot are left out. What comes before the
/// test in the cache is timed too.
pub fn kernels(model: &Model, test: Test, on: impl Fn(Cancel) -> bool) -> Result<Vec<KernelShare>> {
    let profile = |on: bool| -> Result<Vec<Option<KernelTimes>>> {
        model.shared().loaded().runner().pipeline.ask(|stage| stage.profile(on)).into_iter().collect()
    };
    let steps = || model.times().iter().map(|times| times.steps).collect::<Vec<_>>();
    let before = steps();
    profile(true)?;
    let ran = run_once(model, test, &on);
    let times = profile(false)?;
    ran?;
    let steps: Vec<f64> = steps().iter().zip(before).map(|(after, before)| (after - before).max(1) as f64).collect();
    let ledger = model.ledger();
    let mut shares = Vec::new();
    for ((times, stage), steps) in times.into_iter().zip(&ledger.stages).zip(steps) {
        shares.extend(times.into_iter().flatten().map(|((kernel, candidate), time)| KernelShare {
            adapter: stage.adapter.clone(),
            kernel: kernel.into(),
            candidate,
            dispatches: time.dispatches as f64 / steps,
            seconds: time.seconds / steps,
            share: 0.0,
        }));
    }
    let whole: f64 = shares.iter().map(|kernel| kernel.seconds).sum();
    shares.iter_mut().for_each(|kernel| kernel.share = kernel.seconds / whole.max(f64::MIN_POSITIVE));
    shares.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    Ok(shares)
}

/// Tokens per second of one run in a fresh session.
fn run_once(model: &Model, test: Test, on: &impl Fn(Cancel) -> bool) -> Result<f64> {
    let mut session = model.session()?;
    let cancel = session.canceller();
    // So that no token is computed twice.
    session.expect_length(test.tokens());
    let vocabulary = model.config().vocabulary as u32;
    let token = |index: usize| (index as u32 * 7919 + 13) % vocabulary;
    let step = model.shared().loaded().runner().run_tokens();
    let mut evaluate = |tokens: &[u32], rows| -> Result<()> {
        for piece in tokens.chunks(step) {
            if !on(cancel.clone()) {
                return Err(Error::Cancelled);
            }
            session.evaluate(piece, rows, &[Output::Argmax])?;
        }
        Ok(())
    };
    evaluate(&(0..test.depth).map(token).collect::<Vec<_>>(), Rows::None)?;
    let begin = Instant::now();
    // The logits of a prompt's last token are part of processing it, and of every token generated.
    let prompt: Vec<u32> = (0..test.prompt).map(token).collect();
    let (most, last) = prompt.split_at(prompt.len().saturating_sub(step));
    evaluate(most, Rows::None)?;
    evaluate(last, Rows::Last)?;
    // A context that holds the prompt alone has no room for the token that a generation begins with.
    if test.generate > 0 {
        let request = Request { max_tokens: test.generate, ignore_eos: true, ..Request::from(Sampling::greedy()) };
        for piece in session.generate_tokens(&[token(0)], request)? {
            if !on(cancel.clone()) {
                return Err(Error::Cancelled);
            }
            piece?;
        }
    }
    Ok((test.prompt + test.generate) as f64 / begin.elapsed().as_secs_f64())
}

/// Bytes of weights and cache that a step of one token reads after this many.
fn bytes_per_step(model: &Model, depth: usize) -> u64 {
    let loaded = model.shared().loaded();
    let runner = loaded.runner();
    let of_stage = |plan: &StagePlan| -> u64 {
        let nodes = plan.nodes.iter();
        let of_node = |node: &Node| {
            let Some((read, of)) = node.op.matrices_met() else { return 0 };
            let shards = node.weights.iter().flat_map(|weight| &plan.weights[weight].device.shards);
            let bytes = shards.map(|shard| u64::from(shard.rows) * u64::from(shard.row_stride) * 16);
            bytes.sum::<u64>() * read / of
        };
        let weights: u64 = nodes.map(of_node).sum();
        let caches =
            plan.caches.values().map(|cache| depth as u64 * cache.device.kv_type.token_bytes(&cache.device.slot));
        weights + caches.sum::<u64>()
    };
    runner.pipeline.ask(|stage| of_stage(stage.plan())).into_iter().sum()
}

/// The first device's measured copy bandwidth in bytes read and written per second, if it is a GPU that has room for
/// the measuring beside the model.
pub fn copy_bandwidth(model: &Model) -> Option<f64> {
    let loaded = model.shared().loaded();
    let measured = loaded.runner().pipeline.ask(|stage| stage.copy_bandwidth());
    measured.into_iter().next()?.unwrap_or(None)
}
