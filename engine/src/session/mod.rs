//! A session: one sequence of tokens with its keys and values in the cache, and generation from it.

pub mod cancel;
pub mod generation;
pub mod sampler;

use std::ops::Range;
use std::sync::{Arc, PoisonError};

use plywood_kernels::graph::Output;
use plywood_kernels::sample::draw::Draw;
use plywood_models::tokenizer::EncodeOptions;

use crate::error::{Error, Result};
use crate::model::{Model, Shared};
use crate::runner::loading::Loaded;
use crate::runner::{QueuedStep, Row, Run};
use crate::session::cancel::Cancel;

/// Of which tokens the logits are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Of none.
    None,
    /// Of the last.
    Last,
    /// Of all.
    All,
}

impl Rows {
    /// The places of these tokens.
    fn of(self, tokens: &[u32]) -> Range<usize> {
        match self {
            Rows::None => 0..0,
            Rows::Last => tokens.len().saturating_sub(1)..tokens.len(),
            Rows::All => 0..tokens.len(),
        }
    }
}

/// One sequence of tokens. Sessions of one model run at once from several threads; their steps are joined.
///
/// Each call goes on where the last ended: what [`Session::evaluate`] runs and [`Session::generate`] writes follows all of
/// [`Session::tokens`], those that a generation chose among them. Where a call fails or is cancelled, the session has the tokens that it
/// had before, and those that a generation gave out; it can be called again.
///
/// ```no_run
/// use plywood::{Model, Options, Output, Rows, Sampling};
///
/// let model = Model::open("model.gguf", Options::default())?;
/// let mut session = model.session()?;
/// let tokens = session.encode("Once upon a time")?;
/// let rows = session.evaluate(&tokens, Rows::Last, &[Output::Logits])?;
/// println!("{} logits", rows[0].logits.len());
/// // Generation goes on after these tokens.
/// for piece in session.generate("", Sampling::greedy())? {
///     print!("{}", piece?.text);
/// }
/// # Ok::<(), plywood::Error>(())
/// ```
pub struct Session {
    shared: Arc<Shared>,
    /// Where its keys and values lie.
    loaded: Arc<Loaded>,
    sequence: u32,
    tokens: Vec<u32>,
    /// Of how many of them the keys and values lie in the cache: of all but the one that a generation chose last; of none where the model
    /// was loaded again, or the sequence became long, or short again.
    cached: usize,
    /// Whether these were computed as of a long sequence.
    long: bool,
    /// How many tokens the sequence will have at least.
    expected_length: usize,
    cancel: Cancel,
}

/// What is wanted of selected rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub outputs: &'a [Output],
    /// How the next token is drawn, where that is wanted.
    pub draw: Option<Draw>,
}

impl<'a> Wanted<'a> {
    /// Outputs for which nothing is drawn by a sampling.
    fn of(outputs: &'a [Output]) -> Wanted<'a> {
        Wanted { outputs, draw: None }
    }
}

/// A step of a generation.
pub(crate) enum Begun {
    /// It has run, and this was found.
    Rows(Vec<Row>),
    /// A device has it.
    Queued(QueuedStep),
}

/// Tokens to be run for one session of a joint step.
pub struct SessionRun<'a> {
    /// The session.
    pub session: &'a mut Session,
    /// The tokens that follow those it has.
    pub tokens: &'a [u32],
    /// Of which of them logits are wanted.
    pub rows: Rows,
}

impl Model {
    /// A session: one sequence of tokens with its place in the KV cache.
    pub fn session(&self) -> Result<Session> {
        let mut free = self.shared().free_sequences.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = free.pop().ok_or(Error::NoSession { sessions: self.limits().sequences })?;
        Ok(Session::new(Arc::clone(self.shared()), sequence))
    }

    /// Runs tokens of several sessions in one step; gives the wanted rows of each.
    ///
    /// All tokens together must fit a step (see [`Model::limits`]). A session that must compute tokens that it has
    /// does so first, in steps of its own (see [`Session::evaluate`]). The joint step ends with [`Error::Cancelled`] where all of the
    /// sessions are cancelled.
    pub fn step(&self, runs: &mut [SessionRun], requested: &[Output]) -> Result<Vec<Vec<Row>>> {
        let loaded = self.shared().loaded();
        let limits = loaded.runner().limits;
        let (mut tokens, mut rows) = (0, 0);
        for run in runs.iter_mut() {
            if !Arc::ptr_eq(run.session.shared(), self.shared()) {
                let reason = "a session belongs to another model".to_string();
                return Err(Error::Option { option: "Model::step", reason });
            }
            run.session.cancel.begin();
            run.session.follow(&loaded);
            run.session.check(run.tokens)?;
            (tokens, rows) = (tokens + run.tokens.len(), rows + run.rows.of(run.tokens).len());
        }
        if tokens > limits.tokens || rows > limits.selected {
            let reason =
                format!("{tokens} tokens and {rows} rows are more than {} and {}", limits.tokens, limits.selected);
            return Err(Error::Option { option: "Model::step", reason });
        }
        let some = |run: &&mut SessionRun| !run.tokens.is_empty();
        for run in runs.iter_mut().filter(some) {
            run.session.set_length(run.tokens);
            run.session.compute(&[], 0..0, Wanted::of(&[]))?;
        }
        let ready = |run: &SessionRun| {
            let selected = run.rows.of(run.tokens).collect();
            run.session.run_of(run.session.cached, run.tokens.to_vec(), selected, Wanted::of(requested))
        };
        let ready: Vec<Run> = runs.iter().map(ready).collect();
        let rows = loaded.scheduler.run_together(&ready)?;
        runs.iter_mut().filter(some).for_each(|run| run.session.extend(run.tokens));
        Ok(rows)
    }
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, sequence: u32) -> Session {
        let (loaded, cancel) = (shared.loaded(), Cancel::default());
        Session { shared, loaded, sequence, tokens: Vec::new(), cached: 0, long: false, expected_length: 0, cancel }
    }

    /// Goes on where the model is loaded now. What lies in the cache of where it was loaded before is computed again.
    pub(super) fn follow(&mut self, loaded: &Arc<Loaded>) {
        if !Arc::ptr_eq(&self.loaded, loaded) {
            (self.loaded, self.cached) = (Arc::clone(loaded), 0);
        }
    }

    /// Whether the model is still loaded where its keys and values lie.
    pub(crate) fn is_current(&self) -> bool {
        Arc::ptr_eq(&self.loaded, &self.shared.loaded())
    }

    /// The tokens so far: all that were run, and all that generations chose. An end token is one of them, as are those of a stop text.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// What cancels this session from another thread.
    pub fn canceller(&self) -> Cancel {
        self.cancel.clone()
    }

    /// Forgets all but the first `tokens`, and what was expected_length.
    pub fn truncate(&mut self, tokens: usize) {
        self.tokens.truncate(tokens);
        let kept = self.tokens.len();
        self.cached = self.cached.min(kept);
        self.expected_length = 0;
        self.loaded.runner().truncate(self.sequence, kept);
    }

    /// Forgets what is no beginning of `tokens`, and the last of them in any case, so that running the rest gives the logits
    /// after them all. Gives how many are kept.
    pub fn rewind(&mut self, tokens: &[u32]) -> usize {
        self.follow(&self.shared.loaded());
        let same = self.tokens.iter().zip(tokens).take_while(|(held, wanted)| held == wanted).count();
        self.truncate(same.min(self.cached).min(tokens.len().saturating_sub(1)));
        self.tokens.len()
    }

    /// Says that the sequence will have this many tokens, until it is truncated: a text that is evaluated in pieces is then the same long
    /// sequence from its first piece on (see [`Session::evaluate`]).
    pub fn expect_length(&mut self, tokens: usize) {
        self.expected_length = tokens;
    }

    /// Runs tokens after those so far, in as many steps as they need; gives what is wanted of their rows.
    ///
    /// Where that fails, with [`Error::Cancelled`] if it was cancelled meanwhile, the session has none of `tokens`.
    ///
    /// Models with LongRoPE rotate all tokens of a sequence by other angles once it is longer than their original context. Which angles
    /// are right follows from the length with all of `tokens`, or from what was expected_length if that is more. Where they are others than
    /// before, the tokens so far are computed again first: rows are then what they would be had all tokens been given at once. Rows
    /// that were given before stay those of the shorter sequence.
    pub fn evaluate(&mut self, tokens: &[u32], rows: Rows, requested: &[Output]) -> Result<Vec<Row>> {
        self.cancel.begin();
        self.follow(&self.shared.loaded());
        self.check(tokens)?;
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        self.set_length(tokens);
        let (held, wanted) = (self.tokens.len(), rows.of(tokens));
        self.compute(tokens, held + wanted.start..held + wanted.end, Wanted::of(requested))
    }

    /// Runs tokens for a generation, which began before, for what it wants of the last of all tokens. Where that is one step of the token that
    /// was chosen last, it is begun and not waited for.
    pub(crate) fn go_on(&mut self, tokens: &[u32], wanted: Wanted) -> Result<Begun> {
        self.follow(&self.shared.loaded());
        self.check(tokens)?;
        self.set_length(tokens);
        let end = self.tokens.len() + tokens.len();
        // Where nothing follows, the last token is run again for its logits.
        self.cached = self.cached.min(end.saturating_sub(1));
        if tokens.is_empty() && self.cached + 1 == end {
            let run = self.run_of(self.cached, self.tokens[self.cached..].to_vec(), vec![0], wanted);
            if let Some(queued) = self.loaded.scheduler.submit(&run)? {
                self.cached = end;
                return Ok(Begun::Queued(queued));
            }
        }
        self.compute(tokens, end.saturating_sub(1)..end, wanted).map(Begun::Rows)
    }

    /// Begins the step of the token that the step before it chooses, before anybody knows which that is. `None` where that cannot be.
    pub(crate) fn go_ahead(&mut self, wanted: Wanted) -> Option<Result<QueuedStep>> {
        let position = self.tokens.len();
        let becomes_long = self.is_long(position + 1) && !self.long;
        if !self.is_current() || self.cached < position || position == self.context() || becomes_long {
            return None;
        }
        let run = Run { is_ahead: true, ..self.run_of(position, vec![0], vec![0], wanted) };
        self.loaded.scheduler.submit(&run).transpose()
    }

    /// What was found by a step that was begun.
    pub(crate) fn collect(&mut self, begun: Begun) -> Result<Vec<Row>> {
        match begun {
            Begun::Rows(rows) => Ok(rows),
            Begun::Queued(queued) => self.loaded.runner().collect(queued).inspect_err(|_| {
                // Its token's keys and values are not there.
                self.cached = self.cached.min(self.tokens.len().saturating_sub(1));
            }),
        }
    }

    /// Adds the token that a generation chose. The next step runs it, unless one `is_ahead`, which does already.
    pub(crate) fn choose(&mut self, token: u32, is_ahead: bool) {
        self.tokens.push(token);
        self.cached += usize::from(is_ahead);
    }

    /// Forgets a step that was begun for a token that was not chosen.
    pub(crate) fn forget_ahead(&self) {
        self.loaded.runner().truncate(self.sequence, self.tokens.len());
    }

    /// Finds out whether the sequence is a long one with what is to follow; where it becomes one, or is one no longer, nothing of it is in
    /// the cache.
    fn set_length(&mut self, following: &[u32]) {
        let long = self.is_long(self.expected_length.max(self.tokens.len() + following.len()));
        if long != self.long {
            (self.long, self.cached) = (long, 0);
        }
    }

    /// Whether a sequence of this many tokens is a long one.
    fn is_long(&self, tokens: usize) -> bool {
        self.loaded.runner().graph.long_above.is_some_and(|limit| tokens > limit)
    }

    /// Runs the tokens that the cache lacks, and those that follow; gives what is wanted of `rows`, which count from the sequence's first token.
    ///
    /// What of the sequence's own tokens was run before it fails need not be run again.
    fn compute(&mut self, following: &[u32], rows: Range<usize>, wanted: Wanted) -> Result<Vec<Row>> {
        let (held, end) = (self.tokens.len(), self.tokens.len() + following.len());
        let most = self.loaded.runner().run_tokens();
        let mut found = Vec::new();
        let mut first = self.cached;
        while first < end {
            let last = end.min(first + most);
            let (own, others) = (first.min(held)..last.min(held), first.max(held) - held..last.max(held) - held);
            let tokens = [&self.tokens[own], &following[others]].concat();
            let selected = (rows.start.max(first)..rows.end.min(last)).map(|place| place - first).collect();
            found.extend(self.run(self.run_of(first, tokens, selected, wanted))?);
            (first, self.cached) = (last, last.min(held));
        }
        self.extend(following);
        Ok(found)
    }

    /// Runs tokens in one step, unless somebody cancelled.
    fn run(&self, run: Run) -> Result<Vec<Row>> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        self.loaded.scheduler.run(run)
    }

    /// Adds tokens that were run.
    fn extend(&mut self, tokens: &[u32]) {
        self.tokens.extend(tokens);
        self.cached = self.tokens.len();
    }

    /// The tokens of a text that follows those so far: as this model begins one, mostly with BOS, where there are none yet, and then as the
    /// text goes on. Special tokens in it are taken as such.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let tokenizer = self.shared.tokenizer()?;
        if !self.tokens.is_empty() {
            return Ok(tokenizer.encode_after(text)?);
        }
        let ids = tokenizer.encode(text, EncodeOptions { special: true, bos: true })?;
        if !ids.is_empty() {
            return Ok(ids);
        }
        self.shared.config.bos.map(|bos| vec![bos]).ok_or(Error::EmptyPrompt)
    }

    /// Begins a call, to which a cancel applies from now on.
    pub(crate) fn begin(&self) {
        self.cancel.begin();
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Tokens that it may have.
    pub(crate) fn context(&self) -> usize {
        self.loaded.runner().limits.context
    }

    /// Whether somebody cancelled the call that runs.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// An error if tokens are unknown or too many.
    pub(super) fn check(&self, tokens: &[u32]) -> Result<()> {
        let vocabulary = self.shared.config.vocabulary;
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocabulary) {
            return Err(Error::UnknownToken { token: *token, vocabulary });
        }
        let (tokens, context) = (self.tokens.len() + tokens.len(), self.context());
        if tokens > context { Err(Error::ContextFull { tokens, context }) } else { Ok(()) }
    }

    /// Tokens to be run from a position on.
    fn run_of(&self, position: usize, tokens: Vec<u32>, selected: Vec<usize>, wanted: Wanted) -> Run {
        Run {
            sequence: self.sequence,
            position,
            long: self.long,
            tokens,
            selected,
            requested: wanted.outputs.to_vec(),
            draw: wanted.draw,
            is_ahead: false,
            cancel: self.cancel.clone(),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.truncate(0);
        self.shared.free_sequences.lock().unwrap_or_else(PoisonError::into_inner).push(self.sequence);
    }
}
