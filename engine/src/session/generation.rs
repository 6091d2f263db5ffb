//! Generation: an iterator of pieces of text, with the reason why it ended and its times.

use std::time::{Duration, Instant};

use plywood_models::tokenizer::Decoder;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::runner::QueuedStep;
use crate::session::sampler::{Sampler, Sampling};
use crate::session::{Begun, Session, Wanted};

/// What is asked of a generation.
#[derive(Debug, Clone)]
pub struct Request {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The most tokens to generate.
    pub max_tokens: usize,
    /// Texts at which generation ends, before them.
    pub stop: Vec<String>,
    /// Whether end tokens are generated like any other.
    pub ignore_eos: bool,
}

impl Default for Request {
    fn default() -> Request {
        Request { sampling: Sampling::default(), max_tokens: 256, stop: Vec::new(), ignore_eos: false }
    }
}

impl From<Sampling> for Request {
    fn from(sampling: Sampling) -> Request {
        Request { sampling, ..Request::default() }
    }
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StopReason {
    /// The model ended its text.
    Eos,
    /// As many tokens as were asked for.
    Length,
    /// A stop text.
    Stop,
    /// The context is full.
    Context,
    /// Somebody cancelled.
    Cancelled,
}

/// A piece of generated text: whole characters, which may be none while a character is not complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The token, but for text that was held back to the end.
    pub token: Option<u32>,
    /// Its text.
    pub text: String,
}

/// How long the parts of a generation took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timings {
    /// From the beginning to the first token.
    pub first_token: Duration,
    /// The prompt.
    pub prefill: Duration,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// The tokens after the first.
    pub decode: Duration,
    /// Tokens generated.
    pub generated_tokens: usize,
}

impl Timings {
    /// Tokens of the prompt per second; 0 where it was not run.
    pub fn prefill_rate(&self) -> f64 {
        if self.prefill.is_zero() { 0.0 } else { self.prompt_tokens as f64 / self.prefill.as_secs_f64() }
    }

    /// Tokens per second after the first, which came with the prompt; 0 where there are none.
    pub fn decode_rate(&self) -> f64 {
        if self.decode.is_zero() { 0.0 } else { (self.generated_tokens - 1) as f64 / self.decode.as_secs_f64() }
    }
}

/// A generation under way: an iterator of pieces of text.
///
/// ```no_run
/// use plywood::{Model, Options, Request, Sampling};
///
/// let model = Model::open("model.gguf", Options::default())?;
/// let mut session = model.session()?;
/// let request = Request { max_tokens: 50, stop: vec!["\n\n".into()], ..Request::from(model.sampling()) };
/// let mut generation = session.generate("Once upon a time", request)?;
/// for piece in &mut generation {
///     print!("{}", piece?.text);
/// }
/// println!("{:?} after {:.1} tokens/s", generation.stop_reason(), generation.timings().decode_rate());
/// # Ok::<(), plywood::Error>(())
/// ```
///
/// Whether it ends or is dropped, its session has the prompt, once the first token was chosen, and all tokens that
/// were chosen, so that the next generation goes on after them.
pub struct Generation<'a> {
    session: &'a mut Session,
    request: Request,
    sampler: Sampler,
    decoder: Option<Decoder>,
    /// The prompt until it is run. The session itself has what was chosen last.
    pending: Vec<u32>,
    /// The step of the token that was chosen last, where it was begun before that token was known.
    ahead: Option<Result<QueuedStep>>,
    generated: Vec<u32>,
    /// Text that may be the beginning of a stop text.
    held: String,
    stop_reason: Option<StopReason>,
    finished: bool,
    timings: Timings,
}

impl Session {
    /// Generates text after a prompt, piece by piece. The prompt follows the tokens so far (see [`Session::encode`]), and where there are
    /// some it may be empty: generation then goes on where the last ended.
    pub fn generate(&mut self, prompt: &str, request: impl Into<Request>) -> Result<Generation<'_>> {
        let tokens = self.encode(prompt)?;
        self.generate_tokens(&tokens, request)
    }

    /// Generates after tokens, of which there must be at least one in the prompt or before it.
    pub fn generate_tokens(&mut self, prompt: &[u32], request: impl Into<Request>) -> Result<Generation<'_>> {
        self.begin();
        self.generation(prompt, request.into())
    }

    /// A generation in a call that has begun.
    pub(crate) fn generation(&mut self, prompt: &[u32], request: Request) -> Result<Generation<'_>> {
        if prompt.is_empty() && self.tokens().is_empty() {
            return Err(Error::EmptyPrompt);
        }
        self.follow(&self.shared().loaded());
        self.check(prompt)?;
        Generation::new(self, prompt, request)
    }
}

impl<'a> Generation<'a> {
    pub(crate) fn new(session: &'a mut Session, prompt: &[u32], request: Request) -> Result<Generation<'a>> {
        let decoder = session.shared().tokenizer.as_ref().map(|tokenizer| {
            let mut decoder = tokenizer.decoder();
            // So that what is generated goes on where the prompt ended.
            session.tokens().iter().chain(prompt).for_each(|token| _ = decoder.push(*token));
            decoder
        });
        Ok(Generation {
            sampler: Sampler::new(request.sampling.clone())?,
            decoder,
            pending: prompt.to_vec(),
            ahead: None,
            generated: Vec::new(),
            held: String::new(),
            stop_reason: None,
            finished: false,
            timings: Timings { prompt_tokens: prompt.len(), ..Timings::default() },
            session,
            request,
        })
    }

    /// The tokens generated so far, an end token among them.
    pub fn tokens(&self) -> &[u32] {
        &self.generated
    }

    /// Why it ended; `None` while it goes on.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.stop_reason
    }

    /// How long it took.
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// The seed, given or drawn.
    pub fn seed(&self) -> u64 {
        self.sampler.seed()
    }

    /// Whether the context has no room for what the next step runs.
    fn is_full(&self) -> bool {
        self.session.tokens().len() + self.pending.len() > self.session.context()
    }

    /// Whether it would go on if the context had room.
    pub(crate) fn needs_room(&self) -> bool {
        let done = self.finished || self.stop_reason.is_some() || self.generated.len() >= self.request.max_tokens;
        !done && self.is_full()
    }

    /// Goes on with what was generated after another prompt, of which the cache may have a part.
    pub(crate) fn move_after(&mut self, prompt: &[u32]) {
        self.forget_ahead();
        let mut tokens = [prompt, &self.generated].concat();
        let kept = self.session.rewind(&tokens);
        self.pending = tokens.split_off(kept);
    }

    /// Why there is no next token, if so.
    fn ended(&self) -> Option<StopReason> {
        if self.generated.len() >= self.request.max_tokens {
            Some(StopReason::Length)
        } else if self.is_full() {
            Some(StopReason::Context)
        } else if self.session.is_cancelled() {
            Some(StopReason::Cancelled)
        } else {
            None
        }
    }

    /// Runs what is pending and chooses a token. Where a device chooses it, the step after is begun before it is known.
    fn next_token(&mut self) -> Result<u32> {
        let begin = Instant::now();
        let (number, output) = (self.generated.len(), self.sampler.output());
        let outputs = [output];
        let wanted = |number| Wanted { outputs: &outputs, draw: self.sampler.draw(number) };
        let current = match self.ahead.take() {
            Some(ahead) if self.session.is_current() => Begun::Queued(ahead?),
            _ => self.session.go_on(&std::mem::take(&mut self.pending), wanted(number))?,
        };
        let goes_on = number + 1 < self.request.max_tokens;
        if goes_on && output.is_choice() && matches!(current, Begun::Queued(_)) {
            self.ahead = self.session.go_ahead(wanted(number + 1));
        }
        let token = self.session.collect(current).and_then(|rows| {
            let row = rows.last().ok_or(Error::EmptyPrompt)?;
            self.sampler.choose(row, self.session.tokens(), number)
        });
        let token = token.inspect_err(|_| self.forget_ahead())?;
        if self.generated.is_empty() {
            self.timings.prefill = begin.elapsed();
            self.timings.first_token = begin.elapsed();
        } else {
            self.timings.decode += begin.elapsed();
        }
        self.generated.push(token);
        self.timings.generated_tokens = self.generated.len();
        self.session.choose(token, matches!(self.ahead, Some(Ok(_))));
        Ok(token)
    }

    /// Drops a step that was begun and is not needed. The device ends it; what it finds is not read.
    fn forget_ahead(&mut self) {
        if self.ahead.take().is_some() {
            self.session.forget_ahead();
        }
    }

    /// The text that can be given out when `text` has come: what cannot be part of a stop text.
    fn release(&mut self, text: &str) -> String {
        self.held.push_str(text);
        let stops = self.request.stop.iter().filter(|stop| !stop.is_empty());
        if let Some(at) = stops.filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.stop_reason = Some(StopReason::Stop);
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let may_begin = |at: &usize| self.request.stop.iter().any(|stop| stop.starts_with(&self.held[*at..]));
        let boundaries = self.held.char_indices().map(|(at, _)| at);
        let kept = boundaries.clone().find(may_begin).unwrap_or(self.held.len());
        let rest = self.held.split_off(kept);
        std::mem::replace(&mut self.held, rest)
    }

    /// What was held back, at the end. A character that the prompt left incomplete is the prompt's own where nothing was generated.
    fn finish(&mut self) -> Option<Piece> {
        self.finished = true;
        self.forget_ahead();
        if self.stop_reason != Some(StopReason::Stop) && !self.generated.is_empty() {
            let last = self.decoder.as_mut().map(Decoder::finish).unwrap_or_default();
            self.held.push_str(&last);
        }
        let text = std::mem::take(&mut self.held);
        (!text.is_empty()).then_some(Piece { token: None, text })
    }
}

impl Iterator for Generation<'_> {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Result<Piece>> {
        if self.finished {
            return None;
        }
        self.stop_reason = self.stop_reason.or_else(|| self.ended());
        if self.stop_reason.is_some() {
            return self.finish().map(Ok);
        }
        let token = match self.next_token() {
            Ok(token) => token,
            Err(Error::Cancelled) => {
                self.stop_reason = Some(StopReason::Cancelled);
                return self.finish().map(Ok);
            }
            Err(error) => {
                self.finished = true;
                return Some(Err(error));
            }
        };
        if !self.request.ignore_eos && self.session.shared().config.ends.contains(&token) {
            self.stop_reason = Some(StopReason::Eos);
        }
        let is_control = self.session.shared().tokenizer.as_ref().is_some_and(|known| known.control(token).is_some());
        let text = match &mut self.decoder {
            // No text goes on across a control token, so what was held back stands before it.
            Some(decoder) if is_control => std::mem::take(&mut self.held) + &decoder.finish(),
            Some(decoder) => {
                let text = decoder.push(token);
                self.release(&text)
            }
            None => String::new(),
        };
        Some(Ok(Piece { token: Some(token), text }))
    }
}
