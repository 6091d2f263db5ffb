//! A session: one sequence of tokens with its keys and values in the cache, and generation from it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use plywood_kernels::graph::Want;
use plywood_models::tokenizer::EncodeOptions;

use crate::error::{Error, Result};
use crate::generation::{Generation, Request};
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

/// One sequence of tokens. Sessions of one model run at once from several threads; their steps are joined.
pub struct Session {
    shared: Arc<Shared>,
    sequence: u32,
    /// The tokens whose keys and values lie in the cache.
    tokens: Vec<u32>,
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
    /// All tokens together must fit a step (see [`Model::limits`]).
    pub fn step(&self, runs: &mut [SessionRun], wants: &[Want]) -> Result<Vec<Vec<Row>>> {
        let limits = self.limits();
        let (mut tokens, mut rows, mut ready) = (0, 0, Vec::new());
        for run in runs.iter() {
            if !Arc::ptr_eq(run.session.shared(), self.shared()) {
                let reason = "a session belongs to another model".to_string();
                return Err(Error::Option { option: "Model::step", reason });
            }
            run.session.check(run.tokens)?;
            let run = run.session.run_of(run.tokens, run.rows, wants);
            (tokens, rows) = (tokens + run.tokens.len(), rows + run.selected.len());
            ready.push(run);
        }
        if tokens > limits.tokens || rows > limits.selected {
            let reason =
                format!("{tokens} tokens and {rows} rows are more than {} and {}", limits.tokens, limits.selected);
            return Err(Error::Option { option: "Model::step", reason });
        }
        let rows = self.shared().scheduler.run_together(&ready)?;
        runs.iter_mut().for_each(|run| run.session.tokens.extend(run.tokens));
        Ok(rows)
    }
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, sequence: u32) -> Session {
        Session { shared, sequence, tokens: Vec::new(), cancel: Arc::default() }
    }

    /// The tokens so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Something that cancels this session from another thread.
    pub fn canceller(&self) -> Cancel {
        Cancel(Arc::clone(&self.cancel))
    }

    /// Forgets all but the first `tokens`.
    pub fn truncate(&mut self, tokens: usize) {
        self.tokens.truncate(tokens);
        let kept = self.tokens.len();
        self.shared.scheduler.with(|runner| runner.truncate(self.sequence, kept));
    }

    /// Forgets what is no beginning of `tokens`, and the last of them in any case, so that running the rest gives the logits
    /// behind them all. Gives how many are kept.
    pub fn rewind(&mut self, tokens: &[u32]) -> usize {
        let same = self.tokens.iter().zip(tokens).take_while(|(held, wanted)| held == wanted).count();
        self.truncate(same.min(tokens.len().saturating_sub(1)));
        self.tokens.len()
    }

    /// Runs tokens behind those so far, in as many steps as they need; gives what is wanted of their rows.
    pub fn evaluate(&mut self, tokens: &[u32], rows: Rows, wants: &[Want]) -> Result<Vec<Row>> {
        self.check(tokens)?;
        let limits = self.shared.limits;
        let most = if rows == Rows::All { limits.tokens.min(limits.selected) } else { limits.tokens };
        let mut found = Vec::new();
        let mut rest = tokens;
        while !rest.is_empty() {
            if self.cancel.swap(false, Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            let (now, later) = rest.split_at(rest.len().min(most));
            let rows = if rows == Rows::Last && !later.is_empty() { Rows::None } else { rows };
            found.extend(self.shared.scheduler.run(self.run_of(now, rows, wants))?);
            self.tokens.extend(now);
            rest = later;
        }
        Ok(found)
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
        self.check(prompt)?;
        Generation::new(self, prompt, request.into())
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
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
        let (tokens, context) = (self.tokens.len() + tokens.len(), self.shared.limits.context);
        if tokens > context { Err(Error::ContextFull { tokens, context }) } else { Ok(()) }
    }

    fn run_of(&self, tokens: &[u32], rows: Rows, wants: &[Want]) -> Run {
        let selected = match rows {
            Rows::None => Vec::new(),
            Rows::Last => tokens.len().checked_sub(1).into_iter().collect(),
            Rows::All => (0..tokens.len()).collect(),
        };
        let (tokens, wants) = (tokens.to_vec(), wants.to_vec());
        Run { sequence: self.sequence, position: self.tokens.len(), tokens, selected, wants }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.truncate(0);
        self.shared.free_sequences.lock().unwrap_or_else(PoisonError::into_inner).push(self.sequence);
    }
}
