//! A session: one sequence of tokens with its keys and values in the cache, and generation from it.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use plywood_kernels::graph::Want;
use plywood_models::tokenizer::EncodeOptions;

use crate::error::{Error, Result};
use crate::generation::{Generation, Request};
use crate::loading::Loaded;
use crate::model::{Model, Shared};
use crate::runner::{Row, Run};

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
pub struct Session {
    shared: Arc<Shared>,
    /// Where its keys and values lie.
    loaded: Arc<Loaded>,
    sequence: u32,
    tokens: Vec<u32>,
    /// Of how many of them the keys and values lie in the cache: of all but after the sequence became long, or short again.
    cached: usize,
    /// Whether these were computed as of a long sequence.
    long: bool,
    /// How many tokens the sequence will have at least.
    foreseen: usize,
    cancel: Arc<AtomicBool>,
}

/// Cancels a session from another thread, before its next step.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends what the session is doing with [`Error::Cancelled`], or a generation with what it has.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
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
    /// Runs tokens of several sessions in one step; gives the wanted rows of each.
    ///
    /// All tokens together must fit a step (see [`Model::limits`]). A session that must compute its tokens again
    /// does so first, in steps of its own (see [`Session::evaluate`]).
    pub fn step(&self, runs: &mut [SessionRun], wants: &[Want]) -> Result<Vec<Vec<Row>>> {
        let loaded = self.shared().loaded();
        let limits = loaded.runner().limits;
        let (mut tokens, mut rows) = (0, 0);
        for run in runs.iter_mut() {
            if !Arc::ptr_eq(run.session.shared(), self.shared()) {
                let reason = "a session belongs to another model".to_string();
                return Err(Error::Option { option: "Model::step", reason });
            }
            run.session.follow(&loaded);
            run.session.check(run.tokens)?;
            (tokens, rows) = (tokens + run.tokens.len(), rows + run.rows.of(run.tokens).len());
        }
        if tokens > limits.tokens || rows > limits.selected {
            let reason =
                format!("{tokens} tokens and {rows} rows are more than {} and {}", limits.tokens, limits.selected);
            return Err(Error::Option { option: "Model::step", reason });
        }
        for run in runs.iter_mut() {
            run.session.prepare(run.tokens)?;
        }
        let ready: Vec<Run> = runs.iter().map(|run| run.session.run_of(run.tokens, run.rows, wants)).collect();
        let rows = loaded.scheduler.run_together(&ready)?;
        runs.iter_mut().for_each(|run| run.session.extend(run.tokens));
        Ok(rows)
    }
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, sequence: u32) -> Session {
        let (loaded, cancel) = (shared.loaded(), Arc::default());
        Session { shared, loaded, sequence, tokens: Vec::new(), cached: 0, long: false, foreseen: 0, cancel }
    }

    /// Goes on where the model is loaded now. What lies in the cache of where it was loaded before is computed again.
    fn follow(&mut self, loaded: &Arc<Loaded>) {
        if !Arc::ptr_eq(&self.loaded, loaded) {
            (self.loaded, self.cached) = (Arc::clone(loaded), 0);
        }
    }

    /// The tokens so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Something that cancels this session from another thread.
    pub fn canceller(&self) -> Cancel {
        Cancel(Arc::clone(&self.cancel))
    }

    /// Forgets all but the first `tokens`, and what was foreseen.
    pub fn truncate(&mut self, tokens: usize) {
        self.tokens.truncate(tokens);
        let kept = self.tokens.len();
        self.cached = self.cached.min(kept);
        self.foreseen = 0;
        self.loaded.runner().truncate(self.sequence, kept);
    }

    /// Forgets what is no beginning of `tokens`, and the last of them in any case, so that running the rest gives the logits
    /// behind them all. Gives how many are kept.
    pub fn rewind(&mut self, tokens: &[u32]) -> usize {
        self.follow(&self.shared.loaded());
        let same = self.tokens.iter().zip(tokens).take_while(|(held, wanted)| held == wanted).count();
        self.truncate(same.min(self.cached).min(tokens.len().saturating_sub(1)));
        self.tokens.len()
    }

    /// Says that the sequence will have so many tokens, until it is truncated: a text that is evaluated in pieces is then the same long
    /// sequence from its first piece on (see [`Session::evaluate`]).
    pub fn foresee(&mut self, tokens: usize) {
        self.foreseen = tokens;
    }

    /// Runs tokens behind those so far, in as many steps as they need; gives what is wanted of their rows.
    ///
    /// Models with LongRoPE turn all tokens of a sequence by other angles once it is longer than their original context. Which angles
    /// are right follows from the length with all of `tokens`, or from what was foreseen if that is more. Where they are others than
    /// before, the tokens so far are computed again first: rows are then what they would be had all tokens been given at once. Rows
    /// that were given before stay those of the shorter sequence.
    pub fn evaluate(&mut self, tokens: &[u32], rows: Rows, wants: &[Want]) -> Result<Vec<Row>> {
        self.follow(&self.shared.loaded());
        self.check(tokens)?;
        self.prepare(tokens)?;
        let most = self.loaded.runner().run_tokens();
        let mut found = Vec::new();
        let mut rest = tokens;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(most));
            let rows = if rows == Rows::Last && !later.is_empty() { Rows::None } else { rows };
            found.extend(self.run(self.run_of(now, rows, wants))?);
            self.extend(now);
            rest = later;
        }
        Ok(found)
    }

    /// Makes the cache right for tokens that are to follow: where the sequence becomes long by them, or is no longer, the tokens so far
    /// are computed again. Where that is cancelled, the next call goes on with it.
    fn prepare(&mut self, tokens: &[u32]) -> Result<()> {
        if tokens.is_empty() {
            return Ok(());
        }
        let length = self.foreseen.max(self.tokens.len() + tokens.len());
        let long = self.loaded.runner().graph.long_above.is_some_and(|limit| length > limit);
        if long != self.long {
            (self.long, self.cached) = (long, 0);
        }
        while self.cached < self.tokens.len() {
            let rest = &self.tokens[self.cached..];
            let piece = &rest[..rest.len().min(self.loaded.runner().run_tokens())];
            let end = self.cached + piece.len();
            self.run(self.run_of(piece, Rows::None, &[]))?;
            self.cached = end;
        }
        Ok(())
    }

    /// Runs tokens in one step, unless somebody cancelled.
    fn run(&self, run: Run) -> Result<Vec<Row>> {
        if self.take_cancelled() {
            return Err(Error::Cancelled);
        }
        self.loaded.scheduler.run(run)
    }

    /// Adds tokens that were run.
    fn extend(&mut self, tokens: &[u32]) {
        self.tokens.extend(tokens);
        self.cached = self.tokens.len();
    }

    /// The tokens of a text as this model begins one; special tokens in it are taken as such.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let ids = self.shared.tokenizer()?.encode(text, EncodeOptions { special: true, bos: true })?;
        if !ids.is_empty() {
            return Ok(ids);
        }
        self.shared.config.bos.map(|bos| vec![bos]).ok_or(Error::EmptyPrompt)
    }

    /// Generates text behind a prompt, piece by piece.
    pub fn generate(&mut self, prompt: &str, request: impl Into<Request>) -> Result<Generation<'_>> {
        let tokens = self.encode(prompt)?;
        self.generate_tokens(&tokens, request)
    }

    /// Generates behind tokens, of which there must be at least one.
    pub fn generate_tokens(&mut self, prompt: &[u32], request: impl Into<Request>) -> Result<Generation<'_>> {
        if prompt.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        self.follow(&self.shared.loaded());
        self.check(prompt)?;
        Generation::new(self, prompt, request.into())
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Tokens that it may have.
    pub(crate) fn context(&self) -> usize {
        self.loaded.runner().limits.context
    }

    /// Whether somebody cancelled since the last step.
    pub(crate) fn take_cancelled(&self) -> bool {
        self.cancel.swap(false, Ordering::Relaxed)
    }

    /// An error if tokens are unknown or too many.
    fn check(&self, tokens: &[u32]) -> Result<()> {
        let vocabulary = self.shared.config.vocabulary;
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocabulary) {
            return Err(Error::UnknownToken { token: *token, vocabulary });
        }
        let (tokens, context) = (self.tokens.len() + tokens.len(), self.context());
        if tokens > context { Err(Error::ContextFull { tokens, context }) } else { Ok(()) }
    }

    /// Tokens as what follows those in the cache.
    fn run_of(&self, tokens: &[u32], rows: Rows, wants: &[Want]) -> Run {
        let (selected, tokens, wants) = (rows.of(tokens).collect(), tokens.to_vec(), wants.to_vec());
        let cancel = Arc::clone(&self.cancel);
        Run { sequence: self.sequence, position: self.cached, long: self.long, tokens, selected, wants, cancel }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.truncate(0);
        self.shared.free_sequences.lock().unwrap_or_else(PoisonError::into_inner).push(self.sequence);
    }
}
