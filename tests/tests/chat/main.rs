//! `ply chat` as a person and as a script use it: through a pipe, and by keys in a terminal whose screen is read.

#[cfg(unix)]
mod terminal;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use plywood::Model;
use plywood_tests::command::{Ended, finish, spawn, start};
use plywood_tests::turns::{PLAIN, fresh, plain, tokens};
use plywood_tests::{greedy, none_wrong, on_host};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

/// What is after it in every chat: the demo model, alike everywhere. Templates lie in the folder.
const CHAT: &str = "chat demo --adapters host --temp 0 --quiet --template";

/// Thinks, by what the template says, and is never done with it.
const THINKS: &str = "{{ bos_token }}{{ messages[-1].content }}{# </think> #}\n<think>\n";

const FAILS: &str = "{{ bos_token }}{% if depth is defined and depth > 1 %}{{ raise_exception('too deep') }}{% endif %}\
                     {{ messages[-1].content }}:";

const PROGRAM: &str = env!("CARGO_BIN_EXE_ply-tested");

/// A folder with templates.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in [("plain", PLAIN), ("thinks", THINKS), ("fails", FAILS)] {
        std::fs::write(folder.path().join(format!("{name}.jinja")), text).expect("it is written");
    }
    folder
}

fn command(folder: &Path, arguments: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.current_dir(folder).args(format!("{CHAT} {arguments}").split_whitespace());
    command
}

fn pipe(folder: &Path, arguments: &str, input: &str) -> Ended {
    finish(start(&mut command(folder, arguments), input.as_bytes(), Stdio::piped()), LIMIT, |_, _| {})
}

/// What the demo model answers to messages, one after the other, each prompt run anew. Rendered by hand.
fn answers(system: Option<&str>, messages: &[&str], length: usize) -> Vec<String> {
    let model = Model::open("demo", on_host()).expect("it is built in");
    let mut said: Vec<(&str, String)> = system.iter().map(|system| ("system", system.to_string())).collect();
    let mut answers = Vec::new();
    for message in messages {
        said.push(("user", message.to_string()));
        let prompt = plain(&said.iter().map(|(role, text)| (*role, text.as_str())).collect::<Vec<_>>());
        let (_, text) = fresh(&model, &tokens(&model, &prompt), greedy(length));
        said.push(("assistant", text.clone()));
        answers.push(text);
    }
    answers
}

/// Answers as they stand on standard output, each with a line end.
fn lines(answers: &[String]) -> String {
    answers.iter().map(|text| if text.ends_with('\n') { text.clone() } else { format!("{text}\n") }).collect()
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn three_turns_through_a_pipe() {
    let folder = folder();
    let messages = ["Who is Elizabeth?", "And Jane?\nTell me.", "Is it so,\nsir?"];
    let input = "Who is Elizabeth?\n\n\"\"\"And Jane?\nTell me.\"\"\"\nIs it so,\\\nsir?\n/save said.json\n";
    let ended = pipe(folder.path(), "plain.jinja -n 10 --system Politely.", input);
    none_wrong(&Vec::from_iter(ended.wrong(0, &["6 messages", "said.json"])));
    let expected = answers(Some("Politely."), &messages, 10);
    assert_eq!(ended.stdout, lines(&expected));
    let turns = messages.iter().zip(&expected).flat_map(|(message, answer)| {
        [json!({ "role": "user", "content": message }), json!({ "role": "assistant", "content": answer })]
    });
    let saved = json!({ "system": "Politely.", "messages": turns.collect::<Vec<_>>() });
    assert_eq!(read(&folder.path().join("said.json")), saved);
    // Again from the file: without the system prompt, with other line ends, and with the last line unfinished.
    let input =
        "/system \"\"\n/clear\nWho is Elizabeth?\r\n\"\"\"\r\nAnd Jane?\r\nTell me.\r\n\"\"\"\r\nIs it so,\\\r\nsir?";
    let ended = pipe(folder.path(), "plain.jinja -n 10 --load said.json", input);
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "nothing is told");
    assert_eq!(ended.stdout, lines(&answers(None, &messages, 10)));
}

/// Nobody is there who could be asked, so that a file stays; and what is read stays whatever is asked.
#[test]
fn files_stay_through_a_pipe() {
    let folder = folder();
    let said = folder.path().join("said.json");
    std::fs::write(&said, "something").expect("it is written");
    let ended = pipe(folder.path(), "plain.jinja -n 3", "/save said.json\n/save plain.jinja\n/save ./new.json\n");
    none_wrong(&Vec::from_iter(
        ended.wrong(0, &["said.json: this file is there", "plain.jinja: ", "0 messages in ./new.json"]),
    ));
    assert_eq!(std::fs::read_to_string(&said).expect("it is there"), "something");
    assert_eq!(std::fs::read_to_string(folder.path().join("plain.jinja")).expect("it is there"), PLAIN);
}

/// Arguments, what is typed, how many answers there are, and what standard error must say.
type Case = (&'static str, &'static str, usize, &'static [&'static str]);

const LONG: &str = "How do you do, my dear Jane? I hope you are quite well, and that all of them are quite well too?";

const CASES: &[Case] = &[
    ("plain.jinja -n 3", "/nothing\nHi\n", 1, &["/nothing", "/help"]),
    ("plain.jinja -n 3", "/usr/bin\n\"\"\"/usr/bin\"\"\"\n", 1, &["/usr/bin"]),
    ("plain.jinja -n 3", "/help\n/quit\nHi\n", 0, &["/save FILE", "/quit", "\"\"\""]),
    ("plain.jinja -n 3", "/help me\n/quit now\nHi\n", 1, &["/help takes nothing", "/quit takes nothing"]),
    (
        "plain.jinja -n 3",
        "/system\n/system Be brief.\n/system\n/system \"\"\n",
        0,
        &["(no system prompt)\nBe brief.\n"],
    ),
    ("plain.jinja -n 3", "/save\n/load\nHi\n", 1, &["/save: name a file", "/load: name a file"]),
    ("plain.jinja -n 3", "/save /nowhere/at/all\nHi\n", 1, &["/nowhere/at/all"]),
    ("plain.jinja -n 3", "/load /nowhere/at/all\nHi\n", 1, &["/nowhere/at/all"]),
    ("plain.jinja -n 3", "/load .\nHi\n", 1, &[".: this is no file"]),
    ("plain.jinja -n 3", "Hi\nHi\n", 2, &["host", " 0 of them in the cache", "tokens/s", "seed"]),
    (
        "plain.jinja -n 3 -c 30",
        "Hi\nLONG\nHi\n",
        2,
        &["conversation", "and 30 fit", "/clear", "--on-full shift", "--context"],
    ),
    ("plain.jinja -c 16", "Hi\n", 1, &["context of 16 tokens is full", "/clear", "--on-full shift", "--context"]),
    ("plain.jinja -c 16 --on-full shift", "Hi\n", 1, &["context of 16 tokens is full", "ends here", "/clear"]),
    (
        "plain.jinja -n 3 -c 30 --on-full shift",
        "Hi\nHi\nHi\nHi\n",
        4,
        &["context of 30 tokens is full: forgot the oldest"],
    ),
    ("plain.jinja -n 3 -c 16 --on-full shift", "LONG\nHi\n", 1, &["the message does not fit", "context 16"]),
    ("fails.jinja -n 3 --set depth=1", "Hi\n", 1, &[]),
    ("fails.jinja -n 3 --set depth=1 --set depth=2", "Hi\nHi\n", 0, &["fails.jinja", "line 1", "too deep"]),
];

#[test]
fn mistakes_are_told_and_end_nothing() {
    let folder = folder();
    let check = |(arguments, input, answers, says): &Case| {
        let ended = pipe(folder.path(), &format!("{arguments} -v"), &input.replace("LONG", LONG));
        let found = ended.stderr.matches("in the cache").count();
        let other = (found != *answers).then(|| format!("{found} answers instead of {answers}:\n{}", ended.stderr));
        Some(format!("{arguments}: {input:?}: {}", ended.wrong(0, says).or(other)?))
    };
    none_wrong(&CASES.iter().filter_map(check).collect::<Vec<_>>());
}

/// Conversations that are none, and what is said of them.
const BROKEN: &[(&str, &[&str])] = &[
    ("", &["line 1 column 0"]),
    ("[]", &["line 1", "\"messages\""]),
    ("{\n\"system\": null\n}", &["missing field `messages`", "line 3 column 1"]),
    ("{\"messages\": [{\"role\": \"user\"}]}", &["missing field `content`", "line 1 column 30"]),
    ("{\"messages\": [\n{\"role\": \"wizard\", \"content\": \"x\"}]}", &["`wizard`", "line 2 column 17"]),
    ("{\"messages\": [{\"role\": \"user\", \"content\": 5}]}", &["integer `5`", "line 1 column 43"]),
    ("{\"messages\": [], \"mesages\": []}", &["unknown field `mesages`", "line 1 column 26"]),
    ("{\"messages\": [], \"messages\": []}", &["duplicate field `messages`"]),
    ("{\"messages\": []} x", &["trailing characters", "line 1 column 18"]),
    ("{\"messages\": [{\"role\": \"user\", \"content\": \"\\ud800\"}]}", &["line 1 column 50"]),
    ("{\"messages\": [{\"role\"", &["EOF", "line 1 column 21"]),
];

#[test]
fn a_broken_file_changes_nothing() {
    let folder = folder();
    let mut wrong = Vec::new();
    for (text, says) in BROKEN {
        std::fs::write(folder.path().join("broken.json"), text).expect("it is written");
        let says = [&["broken.json"], *says].concat();
        let ended =
            pipe(folder.path(), "plain.jinja -n 3", "Hi\n/save before.json\n/load broken.json\n/save after.json\n");
        let same = read(&folder.path().join("before.json")) == read(&folder.path().join("after.json"));
        let changed = (!same).then(|| "the conversation changed".to_string());
        wrong.extend(ended.wrong(0, &says).or(changed).map(|wrong| format!("{text}: {wrong}")));
        // On the command line it is an error, before anything is loaded.
        let ended = pipe(folder.path(), "plain.jinja --load broken.json", "Hi\n");
        wrong.extend(ended.wrong(1, &says).map(|wrong| format!("{text}: {wrong}")));
    }
    std::fs::write(folder.path().join("broken.json"), b"{\"messages\": [{\"role\": \"user\", \"content\": \"\xff\"}]}")
        .expect("it is written");
    let ended = pipe(folder.path(), "plain.jinja --load broken.json", "Hi\n");
    wrong.extend(ended.wrong(1, &["broken.json", "UTF-8"]));
    none_wrong(&wrong);
}

#[test]
fn wrong_usage_and_a_model_without_a_template() {
    let folder = folder();
    let check = |arguments: &str, status: i32, says: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.current_dir(folder.path()).args(arguments.split_whitespace());
        let wrong = finish(start(&mut command, b"Hi\n", Stdio::piped()), LIMIT, |_, _| {}).wrong(status, says)?;
        Some(format!("ply {arguments}: {wrong}"))
    };
    let cases: [(&str, i32, &[&str]); 8] = [
        ("chat", 2, &["MODEL"]),
        (
            concat!("chat ", env!("CARGO_MANIFEST_DIR"), "/../models/tests/families/qwen3"),
            1,
            &["qwen3", "no chat template", "--template"],
        ),
        ("chat demo --template nowhere.jinja", 1, &["nowhere.jinja"]),
        ("chat demo --template plain.jinja --on-full perhaps", 2, &["--on-full", "stop", "shift"]),
        ("chat demo --template plain.jinja --set depth", 2, &["--set", "NAME=JSON"]),
        ("chat demo --template plain.jinja --set messages=1", 2, &["--set", "messages"]),
        ("chat demo --template plain.jinja --temp=-1", 2, &["--temp"]),
        ("template demo --template fails.jinja --set depth=2", 2, &["--set", "--message"]),
    ];
    none_wrong(
        &cases.iter().filter_map(|(arguments, status, says)| check(arguments, *status, says)).collect::<Vec<_>>(),
    );
}

#[test]
fn variables_are_json_or_texts() {
    let folder = folder();
    std::fs::write(folder.path().join("set.jinja"), "{{ [a, b, c, d] | tojson }}").expect("it is written");
    let mut command = Command::new(PROGRAM);
    let sets = [
        "template",
        "demo",
        "--template",
        "set.jinja",
        "-m",
        "user:x",
        "--set",
        "a=false",
        "--set",
        "b=no thinking",
        "--set",
        "c=\"2\"",
        "--set",
        "d={\"x\": [1]}",
    ];
    let ended = finish(start(command.current_dir(folder.path()).args(sets), b"", Stdio::piped()), LIMIT, |_, _| {});
    assert_eq!(ended.stdout, "[false, \"no thinking\", \"2\", {\"x\": [1]}]", "{}", ended.stderr);
}

#[test]
fn thinking_through_a_pipe() {
    let folder = folder();
    let shown = pipe(folder.path(), "thinks.jinja -n 6", "Hi\n");
    none_wrong(&Vec::from_iter(shown.wrong(0, &[])));
    assert!(shown.stdout.starts_with("<think>\n") && shown.stdout.ends_with("\n</think>\n"), "{:?}", shown.stdout);
    let hidden = pipe(folder.path(), "thinks.jinja -n 6 --hide-thinking", "Hi\n/save said.json\n");
    assert_eq!((hidden.status, hidden.stdout.as_str()), (Some(0), ""));
    let thought = format!(
        "<think>\n{}\n</think>\n",
        read(&folder.path().join("said.json"))["messages"][1]["thinking"].as_str().expect("a text")
    );
    assert_eq!(shown.stdout, thought);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_on_standard_output() {
    let folder = folder();
    let full = std::fs::File::create("/dev/full").expect("Linux has it");
    let mut command = command(folder.path(), "plain.jinja -n 3");
    let ended = finish(start(&mut command, b"Hi\nHi\n", full.into()), LIMIT, |_, _| {});
    none_wrong(&Vec::from_iter(ended.wrong(1, &["standard output", "No space left"])));
    assert_eq!(ended.stderr.matches("No space left").count(), 1, "the first message is the last: {}", ended.stderr);
}

#[cfg(unix)]
mod unix {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Child, ChildStdin};

    use super::terminal::{CONTROL_C, CONTROL_D, Terminal, UP};
    use super::*;

    fn terminal(folder: &Path, arguments: &str, variables: &[(&str, &str)]) -> Terminal {
        let arguments = format!("{CHAT} {arguments}");
        Terminal::run(PROGRAM, &arguments.split_whitespace().collect::<Vec<_>>(), variables, folder)
    }

    fn signal(name: &str, id: u32) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status();
        assert!(sent.expect("there is a shell").success());
    }

    /// The screen of a conversation: prompts with what was typed, and answers.
    fn screen(parts: &[String]) -> String {
        parts.concat().trim_end().to_string()
    }

    #[test]
    fn three_turns_in_a_terminal() {
        let folder = folder();
        let messages = ["Who is Elizabeth?", "And Jane?\nTell me.", "Who is Elizabeth? Say."];
        let told = answers(None, &messages, 10);
        let mut chat = terminal(folder.path(), "plain.jinja -n 10", &[]);
        chat.until(">");
        chat.keys("Who is Elizabeth?\r");
        let mut seen = vec!["> Who is Elizabeth?\n".to_string(), lines(&told[..1]), ">".into()];
        chat.until(&screen(&seen));
        chat.keys("\"\"\"\rAnd Jane?\rTell me.\r\"\"\"\r");
        seen.extend([" \"\"\"\nAnd Jane?\nTell me.\n\"\"\"\n".to_string(), lines(&told[1..2]), ">".into()]);
        chat.until(&screen(&seen));
        // Two messages back, over the lines of the last one, and something after it.
        chat.keys(&format!("{} Say.\r", UP.repeat(5)));
        seen.extend([" Who is Elizabeth? Say.\n".to_string(), lines(&told[2..]), ">".into()]);
        chat.until(&screen(&seen));
        chat.keys("/save said.json\r/clear\r/system\r/system Be brief.\r/system\r/load said.json\r");
        chat.until("> /system\n(no system prompt)\n> /system Be brief.\n> /system\nBe brief.\n> /load said.json\n6 messages from said.json\n>");
        chat.keys("/system\r");
        chat.until("> /system\n(no system prompt)\n>");
        // Pasted lines are one message, and Ctrl-C clears what is typed.
        chat.keys("nonsense");
        chat.until("> nonsense");
        chat.keys(&format!("{CONTROL_C}/clear\r\x1b[200~And Jane?\nTell me.\x1b[201~"));
        chat.until("> /clear\n> And Jane?\nTell me.");
        chat.keys("\r");
        chat.until(&screen(&[
            "> And Jane?\nTell me.\n".into(),
            lines(&answers(None, &messages[1..2], 10)),
            ">".into(),
        ]));
        chat.keys("/quit\r");
        assert_eq!(chat.end(), 0);
        let saved = read(&folder.path().join("said.json"));
        let contents: Vec<_> = saved["messages"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| one["content"].as_str().expect("a text"))
            .collect();
        assert_eq!(contents, [messages[0], &told[0], messages[1], &told[1], messages[2], &told[2]]);
    }

    #[test]
    fn a_file_is_replaced_if_somebody_says_so() {
        let folder = folder();
        let said = folder.path().join("said.json");
        std::fs::write(&said, "something").expect("it is written");
        let mut chat = terminal(folder.path(), "plain.jinja", &[]);
        chat.until(">");
        for denial in ["\r", "no\r", CONTROL_C, CONTROL_D] {
            chat.keys("/save said.json\r");
            chat.until("said.json is there already; replace it? [y/N]");
            chat.keys(denial);
            chat.until("said.json: this file is there already and stays as it was; name another\n>");
            assert_eq!(std::fs::read_to_string(&said).expect("it is there"), "something");
        }
        // What is read can't be replaced at all.
        chat.keys("/save plain.jinja\r");
        chat.until("plain.jinja: this is one of the files that are read; name another file to write\n>");
        chat.keys("/save said.json\r");
        chat.until("[y/N]");
        chat.keys("y\r");
        chat.until("0 messages in said.json\n>");
        assert_eq!(read(&said), json!({ "system": null, "messages": [] }));
        chat.keys("/quit\r");
        assert_eq!(chat.end(), 0);
    }

    #[test]
    fn control_c_ends_answers_and_not_the_program() {
        let folder = folder();
        let whole = &answers(None, &["Who is Elizabeth?"], 150)[0];
        let mut chat = terminal(folder.path(), "plain.jinja -n 150", &[]);
        chat.until(">");
        let begin: String = whole.chars().take(10).collect();
        for turn in 0..2 {
            chat.keys("/clear\rWho is Elizabeth?\r");
            chat.wait("the answer", |chat| {
                chat.text().rsplit("> ").next().is_some_and(|last| last.contains(begin.trim()))
            });
            // From Ctrl-C on the terminal itself drops some of the output, sometimes its own "^C" too.
            let text = chat.text();
            let shown = text.rsplit("Elizabeth?\n").next().expect("it is on the screen").trim();
            chat.keys(CONTROL_C);
            chat.until("\n>");
            chat.keys(&format!("/save {turn}.json\r"));
            chat.until(&format!("2 messages in {turn}.json\n>"));
            let saved = read(&folder.path().join(format!("{turn}.json")));
            let kept = saved["messages"][1]["content"].as_str().expect("a text");
            assert!(kept.len() < whole.len() && whole.starts_with(kept), "{kept:?} of {whole:?}");
            assert!(kept.trim_start().starts_with(shown), "{kept:?} is not on:\n{text}");
        }
        chat.keys("/quit\r");
        assert_eq!(chat.end(), 0);
    }

    #[test]
    fn ways_to_leave() {
        let folder = folder();
        let start = || {
            let chat = terminal(folder.path(), "plain.jinja", &[]);
            chat.until(">");
            chat
        };
        let mut chat = start();
        chat.keys(CONTROL_D);
        assert_eq!(chat.end(), 0);
        let mut chat = start();
        chat.keys(&format!("x{CONTROL_C}{CONTROL_C}"));
        chat.until("leaves\n>");
        chat.keys(&format!("/system\r{CONTROL_C}"));
        chat.until("(no system prompt)\n>\nCtrl-C again or Ctrl-D leaves\n>");
        chat.keys(CONTROL_C);
        assert_eq!(chat.end(), 0);
        let chat = start();
        signal("TERM", chat.id());
        assert_eq!(chat.end(), 130);
    }

    #[test]
    fn thinking_in_a_terminal() {
        let folder = folder();
        let mut chat = terminal(folder.path(), "thinks.jinja -n 6", &[]);
        chat.until(">");
        chat.keys("Hi\r");
        chat.wait("an answer", |chat| chat.text().matches('>').count() == 2);
        let thought = chat.text().lines().rev().nth(1).expect("a line").to_string();
        assert!(chat.is_dimmed(&thought) && !chat.is_dimmed("> Hi"), "{}", chat.text());
        chat.keys("/quit\r");
        assert_eq!(chat.end(), 0);
        let mut chat = terminal(folder.path(), "thinks.jinja -n 6", &[("NO_COLOR", "1")]);
        chat.until(">");
        chat.keys("Hi\r");
        chat.until("</think>\n>");
        assert!(!chat.is_dimmed(&thought), "{}", chat.text());
    }

    /// A chat that reads from a pipe which stays open, and the first line of its answer.
    fn answering(folder: &Path, arguments: &str) -> (Child, ChildStdin, String) {
        let mut child = spawn(&command(folder, arguments), Stdio::piped());
        let mut input = child.stdin.take().expect("it was piped");
        input.write_all(b"Who is Elizabeth?\n").expect("it reads");
        let mut begun = String::new();
        // Nothing is read ahead.
        let mut output = BufReader::with_capacity(1, child.stdout.take().expect("it was piped"));
        output.read_line(&mut begun).expect("it answers");
        child.stdout = Some(output.into_inner());
        (child, input, begun)
    }

    #[test]
    fn signals_and_closed_pipes() {
        let folder = folder();
        let whole = lines(&answers(None, &["Who is Elizabeth?"], 1000));
        // While an answer is under way, and while nothing is.
        for (arguments, ends) in [("plain.jinja", false), ("plain.jinja -n 1", true)] {
            let (child, input, begun) = answering(folder.path(), arguments);
            signal("INT", child.id());
            let ended = finish(child, LIMIT, |_, _| {});
            none_wrong(&Vec::from_iter(ended.wrong(130, &[])));
            drop(input);
            let shown = begun + &ended.stdout;
            assert!(shown.len() < whole.len() && whole.starts_with(shown.trim_end()), "{shown:?}");
            assert!(!ends || ended.stdout.is_empty(), "{ended:?}");
        }
        // Whoever reads has gone.
        let (mut child, input, _) = answering(folder.path(), "plain.jinja");
        drop(child.stdout.take());
        let ended = finish(child, LIMIT, |_, _| {});
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
        drop(input);
    }
}
