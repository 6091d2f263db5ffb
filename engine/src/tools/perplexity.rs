//! How well a model predicts a text: mean negative log-likelihood and perplexity, and what it differs by from a reference.

use plywood_kernels::graph::Output;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::model::Model;
use crate::session::{Rows, Session};

/// Which tokens of a text are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scoring {
    /// Windows of the model's whole context, each begun with BOS in place of its first token and scored on its second
    /// half, as llama.cpp's perplexity tool does. Tokens after the last whole window are left out.
    Windows,
    /// Every token after BOS, in one sequence.
    All,
}

/// What a text scored.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Score {
    /// Tokens scored.
    pub tokens: usize,
    /// Mean negative log-likelihood in nats.
    pub nll: f64,
    /// `exp(nll)`.
    pub perplexity: f64,
    /// How the distributions differ from those of a reference model, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<Divergence>,
}

/// How distributions differ from those of a reference model.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Divergence {
    /// Mean Kullback-Leibler divergence from the reference, in nats.
    pub kl: f64,
    /// The share of tokens before which both models hold the same token for the most probable.
    pub same_top: f64,
}

/// Sums over the tokens scored.
#[derive(Default)]
struct Sums {
    tokens: usize,
    nll: f64,
    kl: f64,
    same_top: usize,
}

/// Scores the tokens of a text, which come without BOS. `progress` is told how many of how many tokens were run;
/// scoring ends with [`Error::Cancelled`] where it returns false.
pub fn score(
    model: &Model,
    reference: Option<&Model>,
    text: &[u32],
    scoring: Scoring,
    mut progress: impl FnMut(usize, usize) -> bool,
) -> Result<Score> {
    let sequences = sequences(model, text, scoring)?;
    let total: usize = sequences.iter().map(|(ids, _)| ids.len()).sum();
    let mut models = vec![model];
    models.extend(reference);
    for model in &models {
        let vocabulary = model.config().vocabulary;
        let unknown = |id: &&u32| **id as usize >= vocabulary;
        if let Some(token) = sequences.iter().flat_map(|(ids, _)| ids).find(unknown) {
            return Err(Error::UnknownToken { token: *token, vocabulary });
        }
    }
    let (mut sums, mut done) = (Sums::default(), 0);
    for (ids, first) in &sequences {
        let mut sessions = models.iter().map(|model| model.session()).collect::<Result<Vec<_>>>()?;
        let mut on = |count: usize| {
            done += count;
            if progress(done, total) { Ok(()) } else { Err(Error::Cancelled) }
        };
        for session in &mut sessions {
            // So that in what pieces it is scored does not matter.
            session.expect_length(ids.len());
            session.evaluate(&ids[..*first], Rows::None, &[])?;
        }
        on(*first)?;
        // The last token predicts nothing that is there.
        let scored = &ids[*first..ids.len() - 1];
        let step = models.iter().map(|model| model.limits().selected).min().unwrap_or(1);
        for (index, piece) in scored.chunks(step).enumerate() {
            let next = &ids[first + 1 + index * step..][..piece.len()];
            add(&mut sums, &mut sessions, piece, next)?;
            on(piece.len())?;
        }
        on(1)?;
    }
    let mean = |sum: f64| sum / sums.tokens as f64;
    let divergence = Divergence { kl: mean(sums.kl), same_top: mean(sums.same_top as f64) };
    let nll = mean(sums.nll);
    let against = reference.map(|_| divergence);
    Ok(Score { tokens: sums.tokens, nll, perplexity: nll.exp(), against })
}

/// The sequences to run, each with the place of the first token whose prediction is scored.
fn sequences(model: &Model, text: &[u32], scoring: Scoring) -> Result<Vec<(Vec<u32>, usize)>> {
    let context = model.context();
    let too_short = |reason| Err(Error::Option { option: "perplexity::score", reason });
    let bos = model.tokenizer().and_then(|tokenizer| tokenizer.prefix().first().copied()).or(model.config().bos);
    match scoring {
        Scoring::Windows => {
            let window = |tokens: &[u32]| {
                let mut ids = tokens.to_vec();
                ids[0] = bos.unwrap_or(ids[0]);
                (ids, context / 2)
            };
            if text.len() < context || context < 3 {
                let reason = format!(
                    "it has {} tokens, less than a window of {context}; use a smaller Options::context or Scoring::All",
                    text.len()
                );
                return too_short(reason);
            }
            Ok(text.chunks_exact(context).map(window).collect())
        }
        Scoring::All => {
            let ids: Vec<u32> = bos.into_iter().chain(text.iter().copied()).collect();
            if ids.len() < 2 {
                return too_short("it has no tokens to score".into());
            }
            if ids.len() > context {
                return Err(Error::ContextFull { tokens: ids.len(), context });
            }
            Ok(vec![(ids, 0)])
        }
    }
}

/// Runs a piece in every session and scores what its tokens say of the next ones.
fn add(sums: &mut Sums, sessions: &mut [Session], piece: &[u32], next: &[u32]) -> Result<()> {
    let rows = sessions.iter_mut().map(|session| session.evaluate(piece, Rows::All, &[Output::Logits]));
    let rows = rows.collect::<Result<Vec<_>>>()?;
    for (index, next) in next.iter().enumerate() {
        let logits = &rows[0][index].logits;
        let normaliser = log_sum_exp(logits)?;
        sums.tokens += 1;
        sums.nll += normaliser - f64::from(logits[*next as usize]);
        if let Some(reference) = rows.get(1) {
            let reference = &reference[index].logits;
            let reference_normaliser = log_sum_exp(reference)?;
            let difference = |(reference, logit): (&f32, &f32)| {
                let probability = f64::from(*reference) - reference_normaliser;
                probability.exp() * (probability - (f64::from(*logit) - normaliser))
            };
            sums.kl += reference.iter().zip(logits).map(difference).sum::<f64>();
            sums.same_top += usize::from(top(reference) == top(logits));
        }
    }
    Ok(())
}

/// The logarithm of the sum of exponentials, in float64.
fn log_sum_exp(logits: &[f32]) -> Result<f64> {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - largest).exp()).sum();
    let normaliser = largest + sum.ln();
    if normaliser.is_finite() { Ok(normaliser) } else { Err(Error::NotANumber) }
}

/// The place of the largest logit, the first of equals.
fn top(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]).then(b.cmp(a)))
}
