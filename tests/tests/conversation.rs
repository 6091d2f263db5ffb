//! Conversations through the engine: what is run again and what not, what happens when the context is full, and what is kept.

use std::sync::Arc;

use plywood::chat::{Chat, ChatOptions, Conversation, Message, OnFull, Part, Role, Section, TurnReport};
use plywood::models::Template;
use plywood::testing::{Call, Failure, Faults};
use plywood::{Error, Model, Options, Request, StopReason};
use plywood_tests::turns::{BOS, PLAIN, fresh, plain, tokens};
use plywood_tests::{adapters, exact, gpus, greedy, none_wrong, on_host};
use serde_json::{Map, Value, json};

/// Shows of earlier answers only the first word, as others drop earlier thinking; [`short`] is the same by hand.
const SHORT: &str = "{{ bos_token }}{% for message in messages %}{{ message.role }}: \
                     {% if message.role == 'assistant' %}{{ message.content.split(' ')[1] }}\
                     {% else %}{{ message.content }}{% endif %}{{ '\n' }}{% endfor %}assistant:";

/// What makes of roles and contents what a template makes of them.
type ByHand = fn(&[(&str, &str)]) -> String;

fn short(messages: &[(&str, &str)]) -> String {
    let shown = messages.iter().map(|(role, content)| match *role {
        "assistant" => (*role, content.split(' ').nth(1).unwrap_or_default()),
        _ => (*role, *content),
    });
    plain(&shown.collect::<Vec<_>>())
}

/// The demo model with two sessions: one for the chat, and one to compare with.
fn demo(options: Options) -> Model {
    Model::open("demo", options.sessions(2)).expect("it is built in")
}

/// The demo model on the host.
fn host(context: usize) -> Model {
    demo(on_host().context(context))
}

fn template(text: &str) -> Template {
    let tokens = Map::from_iter([("bos_token".to_string(), Value::from(BOS))]);
    Template::from_text("test.jinja", text.into(), tokens).expect("it compiles")
}

fn chat(model: &Model, text: &str, on_full: OnFull) -> Chat {
    Chat::new(model, template(text), ChatOptions { on_full, ..ChatOptions::default() }).expect("a session")
}

fn answer(chat: &mut Chat, message: &str, request: Request) -> Result<(String, TurnReport), Error> {
    let mut turn = chat.send(message, request)?;
    let mut text = String::new();
    for part in turn.by_ref() {
        text.push_str(&part?.text);
    }
    let report = turn.report();
    Ok((text, report))
}

/// A conversation as roles and contents, for what is rendered by hand.
fn said(conversation: &Conversation) -> Vec<(&str, &str)> {
    let role = |role| if role == Role::User { "user" } else { "assistant" };
    let system = conversation.system.iter().map(|system| ("system", system.as_str()));
    system.chain(conversation.messages.iter().map(|message| (role(message.role), &*message.content))).collect()
}

#[test]
fn only_what_differs_is_run() {
    let mut wrong = Vec::new();
    let by_hand: [(&str, ByHand); 2] = [(PLAIN, plain), (SHORT, short)];
    for adapter in adapters() {
        let model = demo(exact(&[&adapter]));
        for (text, by_hand) in by_hand {
            let mut chat = chat(&model, text, OnFull::Stop);
            chat.set_system(Some("You are Mr. Darcy.".into()));
            let mut cache = Vec::new();
            for message in ["Who is Elizabeth?", "And Jane?\nTell me.", "Is it so?"] {
                let mut conversation = chat.conversation().clone();
                conversation.messages.push(Message::user(message));
                let prompt = tokens(&model, &by_hand(&said(&conversation)));
                let same = cache.iter().zip(&prompt).take_while(|(a, b)| a == b).count();
                let (ids, expected) = fresh(&model, &prompt, greedy(12));
                let (found, report) = answer(&mut chat, message, greedy(12)).expect("it answers");
                let run = report.timings.prompt_tokens;
                if (&found, report.reused, run) != (&expected, same, prompt.len() - same) {
                    wrong.push(format!(
                        "{}: {message:?}: {found:?} of {run} + {}, not {expected:?} of {} + {same}",
                        adapter.label(),
                        report.reused,
                        prompt.len() - same
                    ));
                }
                // The last token was chosen, but not run.
                cache = [&prompt[..], &ids[..ids.len() - 1]].concat();
            }
            assert_eq!(said(chat.conversation()).len(), 7, "a system prompt and three turns");
        }
    }
    none_wrong(&wrong);
}

#[test]
fn a_full_context_stops() {
    let model = host(48);
    let mut chat = chat(&model, PLAIN, OnFull::Stop);
    let prompt = tokens(&model, &plain(&[("user", "Who is Elizabeth?")]));
    let (text, report) = answer(&mut chat, "Who is Elizabeth?", greedy(1000)).expect("it begins");
    // The last token needs no place.
    assert_eq!(
        (report.stop_reason, report.timings.generated_tokens),
        (Some(StopReason::Context), 48 - prompt.len() + 1)
    );
    assert_eq!(text, fresh(&model, &prompt, greedy(1000)).1);
    let before = chat.conversation().clone();
    let full = tokens(&model, &plain(&[("user", "Who is Elizabeth?"), ("assistant", &text), ("user", "And Jane?")]));
    match answer(&mut chat, "And Jane?", greedy(5)) {
        Err(Error::ConversationFull { tokens, context: 48 }) => assert_eq!(tokens, full.len()),
        other => panic!("{other:?}"),
    }
    assert_eq!(chat.conversation(), &before, "the message was taken back");
    chat.clear();
    assert!(answer(&mut chat, "And Jane?", greedy(5)).is_ok());
}

#[test]
fn messages_that_never_fit() {
    let model = host(48);
    let long = "Jane ".repeat(100);
    let length = tokens(&model, &plain(&[("system", "Be brief."), ("user", &long)])).len();
    for on_full in [OnFull::Stop, OnFull::Shift] {
        let mut chat = chat(&model, PLAIN, on_full);
        chat.set_system(Some("Be brief.".into()));
        if on_full == OnFull::Shift {
            answer(&mut chat, "Who?", greedy(3)).expect("it fits");
        }
        let before = chat.conversation().clone();
        match answer(&mut chat, &long, greedy(5)) {
            Err(Error::MessageTooLong { tokens, context: 48 }) => assert_eq!(tokens, length),
            other => panic!("{other:?}"),
        }
        assert_eq!(chat.conversation(), &before, "the message was taken back");
        assert!(answer(&mut chat, "Who?", greedy(3)).is_ok(), "the next one is answered");
    }
}

#[test]
fn a_shift_forgets_the_fewest_turns() {
    let (context, generated) = (100, 8);
    let model = host(context);
    let mut chat = chat(&model, PLAIN, OnFull::Shift);
    chat.set_system(Some("You are Mr. Darcy.".into()));
    let (mut first, mut shifts) = (0, 0);
    for turn in 0..12 {
        let message = format!("Who is number {turn}?");
        let mut messages = chat.conversation().messages.clone();
        messages.push(Message::user(&message));
        // One by one: the oldest turn of two messages, until the prompt and the answer fit.
        let prompt = |first: usize| {
            let conversation = Conversation { messages: messages[first..].to_vec(), ..chat.conversation().clone() };
            tokens(&model, &plain(&said(&conversation)))
        };
        let before = first;
        while prompt(first).len() + generated > context {
            first += 2;
        }
        let expected = fresh(&model, &prompt(first), greedy(generated)).1;
        let length = prompt(first).len();
        let (text, report) = answer(&mut chat, &message, greedy(generated)).expect("it answers");
        assert_eq!((text, report.forgotten_turns), (expected, (first - before) / 2), "turn {turn}");
        assert_eq!(report.reused + report.timings.prompt_tokens, length, "turn {turn}");
        shifts += report.forgotten_turns;
    }
    assert!(shifts > 3, "{shifts} turns were forgotten");
    assert_eq!(chat.conversation().messages.len(), 24, "what the model forgets is kept");
    // A conversation from elsewhere, of which most must go at once.
    let whole = chat.conversation().clone();
    chat.set_conversation(whole);
    let (_, report) = answer(&mut chat, "Who is number 12?", greedy(generated)).expect("it answers");
    assert!((7..12).contains(&report.forgotten_turns), "{report:?}");
}

#[test]
fn an_answer_that_fills_the_context_goes_on() {
    let context = 80;
    let model = host(context);
    let mut chat = chat(&model, PLAIN, OnFull::Shift);
    let (one, _) = answer(&mut chat, "Who is Elizabeth?", greedy(20)).expect("it answers");
    let messages = [("user", "Who is Elizabeth?"), ("assistant", &*one), ("user", "And Jane?")];
    let whole = tokens(&model, &plain(&messages));
    let (begun, _) = fresh(&model, &whole, greedy(1000));
    assert_eq!(whole.len() + begun.len(), context + 1);
    let alone = tokens(&model, &plain(&messages[2..]));
    let (rest, _) = fresh(&model, &[&alone[..], &begun].concat(), greedy(1000));
    assert_eq!(alone.len() + begun.len() + rest.len(), context + 1, "then nothing more can be forgotten");
    let expected = model.tokenizer().expect("one").decode(&[whole, begun.clone(), rest.clone()].concat());
    let (text, report) = answer(&mut chat, "And Jane?", greedy(1000)).expect("it answers");
    assert!(expected.ends_with(&text), "{text:?} is not at the end of {expected:?}");
    let found = (report.timings.generated_tokens, report.forgotten_turns, report.stop_reason);
    assert_eq!(found, (begun.len() + rest.len(), 1, Some(StopReason::Context)));
}

#[test]
fn interrupted_answers_are_kept_as_shown() {
    let model = host(200);
    let mut chat = chat(&model, PLAIN, OnFull::Stop);
    let cancel = chat.canceller();
    // Before its beginning: nothing was said.
    let mut turn = chat.send("Who?", greedy(50)).expect("it fits");
    cancel.cancel();
    assert!(turn.next().is_none());
    assert_eq!((turn.report().taken_back, turn.report().stop_reason), (true, Some(StopReason::Cancelled)));
    drop(turn);
    assert_eq!(chat.conversation().messages, []);
    // In the middle, by another thread and by somebody who no longer asks; a cancellation from before does not count.
    cancel.cancel();
    for drops in [false, true] {
        let mut turn = chat.send("Who is Elizabeth?", greedy(50)).expect("it fits");
        let mut shown: String = turn.by_ref().take(5).map(|part| part.expect("it runs").text).collect();
        if !drops {
            cancel.cancel();
            shown.extend(turn.by_ref().map(|part| part.expect("it runs").text));
            assert_eq!(turn.report().stop_reason, Some(StopReason::Cancelled));
        }
        drop(turn);
        let last = chat.conversation().messages.last().expect("an answer");
        assert_eq!((last.role, &last.content), (Role::Assistant, &shown));
        let mut messages = said(chat.conversation());
        messages.push(("user", "And Jane?"));
        let prompt = tokens(&model, &plain(&messages));
        let expected = fresh(&model, &prompt, greedy(10)).1;
        assert_eq!(answer(&mut chat, "And Jane?", greedy(10)).expect("it goes on").0, expected);
        chat.clear();
    }
}

#[test]
fn a_template_that_fails_takes_the_message_back() {
    let failing = format!(
        "{{% if messages[-1].content == 'bad' %}}\n{{{{ raise_exception('no bad words') }}}}{{% endif %}}{PLAIN}"
    );
    let model = host(100);
    let mut chat = chat(&model, &failing, OnFull::Stop);
    let good = answer(&mut chat, "good", greedy(4)).expect("it answers").0;
    let error = answer(&mut chat, "bad", greedy(4)).expect_err("it fails").to_string();
    assert!(["test.jinja", "line 2", "no bad words"].iter().all(|says| error.contains(says)), "{error}");
    assert_eq!(said(chat.conversation()), [("user", "good"), ("assistant", &*good)]);
    assert!(answer(&mut chat, "good", greedy(4)).is_ok());
}

#[test]
fn thinking_is_kept_beside_the_answer() {
    // The demo model never ends its thinking, so all of this is.
    let opens = format!("{{# </think> #}}{PLAIN} <think>\n");
    let model = host(100);
    let mut chat = chat(&model, &opens, OnFull::Stop);
    let parts: Vec<Part> = chat.send("Who?", greedy(8)).expect("it fits").map(|part| part.expect("it runs")).collect();
    assert!(parts.iter().all(|part| part.section == Section::Thinking), "{parts:?}");
    let text: String = parts.into_iter().map(|part| part.text).collect();
    let answer = Message { role: Role::Assistant, content: String::new(), thinking: Some(text) };
    assert_eq!(chat.conversation().messages, [Message::user("Who?"), answer]);
}

/// Templates read it as Qwen's and gpt-oss' do.
#[test]
fn templates_are_given_thinking() {
    let model = host(100);
    let shows = "{% for message in messages %}{{ message.reasoning_content }}{{ message.thinking }}{% endfor %}";
    let mut chat = chat(&model, shows, OnFull::Stop);
    let messages = json!({ "system": null, "messages": [
        { "role": "user", "content": "Who?" },
        { "role": "assistant", "content": "I.", "thinking": "Who indeed" },
    ] });
    chat.set_conversation(serde_json::from_value(messages).expect("a conversation"));
    let (_, report) = answer(&mut chat, "Who?", greedy(1)).expect("it fits");
    assert_eq!(report.timings.prompt_tokens, tokens(&model, "Who indeedWho indeed").len());
}

/// A device that is lost under an answer: what was shown is kept, a message that nothing was shown for is taken back, and once the model is
/// loaded again the conversation goes on as if nothing had been.
#[test]
fn a_conversation_survives_a_lost_device() {
    for adapter in gpus() {
        let faults = Arc::new(Faults::default());
        let model = demo(exact(&[&adapter]).hooks(&faults));
        let [mut whole, mut chat] = [(); 2].map(|()| chat(&model, PLAIN, OnFull::Stop));
        let [first, second] = ["Who is Jane?", "And he?"]
            .map(|message| answer(&mut whole, message, greedy(12)).expect("nothing is lost").0);
        assert_eq!(answer(&mut chat, "Who is Jane?", greedy(12)).expect("it is there").0, first);
        faults.order("", Call::Submit, 1, Failure::Lose);
        let error = answer(&mut chat, "And he?", greedy(12)).expect_err("the device is gone");
        assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
        assert_eq!(chat.conversation().messages.len(), 2, "the message was not taken back");
        model.recover().expect("the adapter is there");
        let (again, report) = answer(&mut chat, "And he?", greedy(12)).expect("it goes on");
        assert_eq!((again, report.reused), (second, 0), "{}", adapter.label());

        let mut turn = chat.send("More", greedy(30)).expect("it begins");
        let mut shown = turn.next().expect("an answer").expect("nothing is lost yet").text;
        faults.order("", Call::Submit, 1, Failure::Lose);
        let failed = turn.by_ref().find_map(|part| part.map(|part| shown.push_str(&part.text)).err());
        drop(turn);
        assert!(failed.as_ref().is_some_and(Error::is_device_error) && !shown.is_empty(), "{failed:?} after {shown:?}");
        let last = chat.conversation().messages.last().expect("there is an answer");
        assert_eq!((last.role, &last.content), (Role::Assistant, &shown));
        println!("{}: {} bytes were shown before the device was lost", adapter.label(), shown.len());
    }
}
