//! What the library says of its options and types, in the words of the command line.

/// The library's words and ours, longer ones before those that begin them.
const WORDS: &[(&str, &str)] = &[
    // Several changes are flags one after the other, to be pasted after a command.
    (" and Options::", " Options::"),
    ("Options::context = ", "--context "),
    ("Options::context", "--context"),
    ("Options::kv_type = ", "--kv-type "),
    ("Options::quantize = ", "--quantize "),
    ("Options::devices = ", "--adapters "),
    ("Options::devices", "--adapters"),
    ("Options::memory", "--memory"),
    ("Options::fit applies the first that is an option", "--fit takes the first that is a flag"),
    ("Options::overrides: ", "--tensor "),
    ("Options::overrides = ", "--tensor "),
    ("Devices::Adapters", "--adapters"),
    ("Layers::Split", "--split"),
    ("Layers::Ranges", "--layers"),
    ("Sampling::temperature", "--temp"),
    ("Sampling::top_p", "--top-p"),
    ("Sampling::min_p", "--min-p"),
    ("Sampling::repeat_penalty", "--repeat-penalty"),
    ("Scoring::All", "--all"),
    ("OnFull::Shift", "--on-full shift"),
    ("Chat::clear", "/clear"),
    ("Existing::Replace", "--force"),
    ("Template::from_file", "--template"),
    ("hypothetical::from_names", "--as"),
    ("hypothetical::from_json", "--devices"),
    ("perplexity::score", "FILE"),
    ("Session::generate", "PROMPT"),
    ("Adapters::list has", "`ply adapters` lists"),
    ("Checkpoint::tensors has", "`ply inspect --tensors` lists"),
    ("run tools::selftest", "run `ply selftest`"),
];

/// A message of the library in our words.
pub fn in_flags(message: &str) -> String {
    WORDS.iter().fold(message.to_string(), |message, (theirs, ours)| message.replace(theirs, ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_flags() {
        let check = |theirs: &str, ours: &str| assert_eq!(in_flags(theirs), ours);
        check("shorten it or raise Options::context", "shorten it or raise --context");
        check(
            "it would fit with Options::context = 512 and Options::kv_type = f16, or with a smaller model",
            "it would fit with --context 512 --kv-type f16, or with a smaller model",
        );
        check("Options::devices = 0,host without Layers::Split", "--adapters 0,host without --split");
        check("Layers::Ranges: there is no device 2", "--layers: there is no device 2");
    }

    #[test]
    fn longer_words_come_first() {
        for (place, (theirs, _)) in WORDS.iter().enumerate() {
            let earlier = WORDS[..place].iter().find(|(earlier, _)| theirs.contains(earlier));
            assert_eq!(earlier, None, "{theirs} is never reached");
        }
    }
}
