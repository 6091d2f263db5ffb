//! What tests of conversations share: a chat template, the same by hand, and what a session without a past answers.

use plywood::models::tokenizer::EncodeOptions;
use plywood::{Model, Request};

/// `user: …`, `assistant: …`, each on a line; [`plain`] is the same by hand.
pub const PLAIN: &str = "{{ bos_token }}{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}\
                     {% if add_generation_prompt %}assistant:{% endif %}";

/// The demo model's BOS.
pub const BOS: &str = "<|endoftext|>";

/// A conversation of roles and contents, and the beginning of an answer.
pub fn plain(messages: &[(&str, &str)]) -> String {
    let lines: String = messages.iter().map(|(role, content)| format!("{role}: {content}\n")).collect();
    format!("{BOS}{lines}assistant:")
}

/// The ids of what a template wrote.
pub fn tokens(model: &Model, text: &str) -> Vec<u32> {
    model.tokenizer().expect("it has one").encode(text, EncodeOptions::RENDERED).expect("it is text")
}

/// What a session without a past generates after tokens: ids, and their text.
pub fn fresh(model: &Model, prompt: &[u32], request: Request) -> (Vec<u32>, String) {
    let mut session = model.session().expect("one is free");
    let mut generation = session.generate_tokens(prompt, request).expect("it fits");
    let text = generation.by_ref().map(|piece| piece.expect("it runs").text).collect();
    (generation.tokens().to_vec(), text)
}
