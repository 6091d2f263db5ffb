//! Which token comes next: penalty, top-k, top-p, min-p, temperature, in this order.

use plywood_kernels::graph::Output;
use plywood_kernels::sample::MAX_TOP_K;
use plywood_kernels::sample::draw::Draw;

use crate::error::{Error, Result};
use crate::runner::Row;

/// Recent tokens to which the repeat penalty applies.
const PENALTY_WINDOW: usize = 64;

/// How the next token is chosen: of the `top_k` most probable ones, those that `top_p` and `min_p` keep, by chance.
///
/// ```
/// use plywood::Sampling;
///
/// let sampling = Sampling { temperature: 0.6, top_p: 0.9, seed: Some(7), ..Sampling::default() };
/// assert!(sampling.check().is_ok());
/// assert!(Sampling { top_p: 1.5, ..sampling }.check().is_err());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// What logits are divided by; 0 takes the largest, the lowest id of equals.
    pub temperature: f32,
    /// How many candidates are kept; 0 is all.
    pub top_k: u32,
    /// The smallest set of candidates of this much probability is kept; 1 is all.
    pub top_p: f32,
    /// Candidates of less than this much of the largest probability are dropped; 0 is none.
    pub min_p: f32,
    /// Positive logits of the last 64 tokens are divided by it, negative ones multiplied; 1 is none.
    pub repeat_penalty: f32,
    /// Equal seeds give equal tokens on one device for equal steps; random where `None`.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.05, repeat_penalty: 1.0, seed: None }
    }
}

impl Sampling {
    /// Always the most probable token.
    pub fn greedy() -> Sampling {
        Sampling { temperature: 0.0, ..Sampling::default() }
    }

    /// What the model's makers say, and the defaults where they say nothing.
    pub fn of_model(sampling: &plywood_models::config::Sampling) -> Sampling {
        let default = Sampling::default();
        Sampling {
            temperature: sampling.temperature.unwrap_or(default.temperature),
            top_k: sampling.top_k.unwrap_or(default.top_k),
            top_p: sampling.top_p.unwrap_or(default.top_p),
            min_p: sampling.min_p.unwrap_or(default.min_p),
            repeat_penalty: sampling.repetition_penalty.unwrap_or(default.repeat_penalty),
            seed: None,
        }
    }

    /// An error for values that mean nothing.
    pub fn check(&self) -> Result<()> {
        let checks = [
            ("Sampling::temperature", self.temperature, 0.0, f32::MAX),
            ("Sampling::top_p", self.top_p, 0.0, 1.0),
            ("Sampling::min_p", self.min_p, 0.0, 1.0),
            ("Sampling::repeat_penalty", self.repeat_penalty, f32::MIN_POSITIVE, f32::MAX),
        ];
        for (option, value, least, most) in checks {
            if !(least..=most).contains(&value) {
                let range = match (least, most) {
                    (_, 1.0) => "from 0 to 1",
                    (0.0, _) => "from 0 on",
                    _ => "above 0",
                };
                let reason = format!("{value} is not a number {range}");
                return Err(Error::Option { option, reason });
            }
        }
        Ok(())
    }
}

/// Chooses tokens for one sequence.
#[derive(Debug)]
pub(crate) struct Sampler {
    sampling: Sampling,
    seed: u64,
}

impl Sampler {
    pub fn new(sampling: Sampling) -> Result<Sampler> {
        sampling.check()?;
        let seed = sampling.seed.unwrap_or_else(random_seed);
        Ok(Sampler { seed, sampling })
    }

    /// The seed, given or drawn.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What a step must find for the next choice: the choice itself where the device can make it.
    pub fn output(&self) -> Output {
        let sampling = &self.sampling;
        match (sampling.repeat_penalty == 1.0, sampling.temperature == 0.0, sampling.top_k as usize) {
            (true, true, _) => Output::Argmax,
            (true, false, 1..=MAX_TOP_K) => Output::Drawn,
            _ => Output::Logits,
        }
    }

    /// How the token of this number is drawn; `None` where the largest is taken.
    pub fn draw(&self, number: usize) -> Option<Draw> {
        let Sampling { temperature, top_k, top_p, min_p, .. } = self.sampling;
        let number = number as u32;
        (temperature > 0.0).then_some(Draw { temperature, top_k, top_p, min_p, seed: self.seed, number })
    }

    /// The next token, the one of this number, from what [`Sampler::output`] asked for and the tokens so far.
    pub fn choose(&self, row: &Row, tokens: &[u32], number: usize) -> Result<u32> {
        let chosen = match self.output() {
            Output::Argmax => row.argmax,
            Output::Drawn => row.drawn,
            _ => {
                let candidates = self.ranked(&row.logits, tokens);
                match self.draw(number) {
                    Some(draw) => Some(draw.choose(candidates.iter().copied())),
                    None => candidates.first().filter(|(_, logit)| logit.is_finite()).map(|(id, _)| *id),
                }
            }
        };
        chosen.filter(|id| *id != u32::MAX).ok_or(Error::NotANumber)
    }

    /// All logits after the penalty, from the largest on, the lower id first of equals.
    fn ranked(&self, logits: &[f32], tokens: &[u32]) -> Vec<(u32, f32)> {
        let mut logits = logits.to_vec();
        let mut recent = tokens[tokens.len().saturating_sub(PENALTY_WINDOW)..].to_vec();
        recent.sort_unstable();
        recent.dedup();
        for token in recent {
            if let Some(logit) = logits.get_mut(token as usize) {
                let penalty = self.sampling.repeat_penalty;
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
        let mut ranked: Vec<(u32, f32)> =
            logits.into_iter().enumerate().map(|(id, logit)| (id as u32, logit)).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        ranked
    }
}

/// A seed that differs from run to run: the standard library's hasher is keyed at random.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // 53 bits, which JSON readers keep whole.
    std::collections::hash_map::RandomState::new().build_hasher().finish() >> 11
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, 3.0, -1.0];

    fn choose(sampling: Sampling, tokens: &[u32]) -> u32 {
        let sampler = Sampler::new(sampling).expect("the values are in range");
        let top_k = [(1, 3.0), (3, 3.0), (2, 2.0), (0, 1.0), (4, -1.0)];
        let drawn = sampler.draw(0).map(|draw| draw.choose(top_k.into_iter()));
        let row = Row { logits: LOGITS.to_vec(), argmax: Some(1), drawn, ..Row::default() };
        sampler.choose(&row, tokens, 0).expect("the logits are numbers")
    }

    /// How often each id is drawn in 2000 seeds.
    fn counts(sampling: &Sampling) -> Vec<usize> {
        let mut counts = vec![0; LOGITS.len()];
        for seed in 0..2000 {
            counts[choose(Sampling { seed: Some(seed), ..sampling.clone() }, &[]) as usize] += 1;
        }
        counts
    }

    #[test]
    fn greedy_takes_the_lowest_id_of_equals() {
        assert_eq!(choose(Sampling::greedy(), &[]), 1);
        // The penalty divides 3 by 2.
        assert_eq!(choose(Sampling { repeat_penalty: 2.0, ..Sampling::greedy() }, &[1]), 3);
    }

    #[test]
    fn truncation_leaves_what_it_says() {
        let all = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, repeat_penalty: 1.0, seed: None };
        let check = |sampling: Sampling, kept: &[usize]| {
            let drawn = counts(&sampling);
            let found: Vec<usize> = (0..drawn.len()).filter(|id| drawn[*id] > 0).collect();
            assert_eq!(found, kept, "{sampling:?}");
        };
        check(Sampling { top_k: 3, ..all.clone() }, &[1, 2, 3]);
        check(Sampling { top_p: 0.7, ..all.clone() }, &[1, 3]);
        check(Sampling { min_p: 0.3, ..all.clone() }, &[1, 2, 3]);
        check(all, &[0, 1, 2, 3, 4]);
    }

    #[test]
    fn draws_follow_the_softmax() {
        let all = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, repeat_penalty: 1.0, seed: None };
        let total: f64 = LOGITS.iter().map(|logit| f64::from(*logit).exp()).sum();
        for (count, logit) in counts(&all).into_iter().zip(LOGITS) {
            let expected = 2000.0 * f64::from(logit).exp() / total;
            // Five standard deviations of a binomial count.
            assert!((count as f64 - expected).abs() < 5.0 * expected.sqrt().max(1.0), "{count} of {expected}");
        }
    }

    #[test]
    fn what_is_no_number_is_an_error() {
        let sampler = Sampler::new(Sampling { top_k: 0, ..Sampling::default() }).expect("in range");
        assert!(sampler.choose(&Row { logits: vec![0.0, f32::NAN], ..Row::default() }, &[], 0).is_err());
        assert!(Sampler::new(Sampling { temperature: f32::NAN, ..Sampling::default() }).is_err());
        assert!(Sampler::new(Sampling { top_p: 1.5, ..Sampling::default() }).is_err());
    }
}
