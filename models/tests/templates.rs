//! Every chat template of the data pack, character for character, and what broken and endless ones do.

mod common;

use std::path::Path;

use plywood_models::template::{RenderOptions, message};
use plywood_models::tokenizer::EncodeOptions;
use plywood_models::{Checkpoint, Config, Settings, Template, Tokenizer, gguf};
use serde_json::{Map, Value, json};

use common::{check_message, data};

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// A template of a text without special tokens.
fn template(text: &str) -> Template {
    Template::from_text("test.jinja", text.into(), Map::new()).unwrap()
}

fn render(text: &str) -> plywood_models::Result<String> {
    template(text).render(&[message("user", "Hello")], &RenderOptions::default())
}

#[test]
fn templates_of_models() {
    let Some(path) = data("chat_templates/expected.json") else { return };
    let expected = read(&path);
    let now = Some(expected["now"].as_str().unwrap().parse().unwrap());
    let (mut held, mut refused) = (0, 0);
    for entry in expected["templates"].as_array().unwrap() {
        let file = path.with_file_name(entry["template"].as_str().unwrap());
        let text = std::fs::read_to_string(&file).unwrap();
        let template = Template::from_text(&file, text, object(&entry["variables"])).unwrap();
        let render = |case: &Value| {
            let messages = &expected["conversations"][case["conversation"].as_str().unwrap()];
            let generation_prompt = case["add_generation_prompt"].as_bool().unwrap();
            let options = RenderOptions { generation_prompt, now, ..RenderOptions::default() };
            template.render(messages.as_array().unwrap(), &options)
        };
        for case in entry["renderings"].as_array().unwrap() {
            assert_eq!(render(case).unwrap(), case["text"].as_str().unwrap(), "{}", file.display());
            held += 1;
        }
        for case in entry["skipped"].as_array().unwrap() {
            check_message(render(case), &[case["error"].as_str().unwrap(), "line", "jinja"]);
            refused += 1;
        }
    }
    println!("{held} renderings of chat templates are exact, {refused} refusals are theirs");
    assert_eq!((held, refused), (56, 4));
}

#[test]
fn extracted_cases() {
    let Some(path) = data("chat_templates/extracted_cases.json") else { return };
    let cases = read(&path);
    let mut held = 0;
    for case in cases["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let tokens = json!({ "bos_token": case["bos"], "eos_token": case["eos"] });
        let template = Template::from_text(name, case["template"].as_str().unwrap().into(), object(&tokens)).unwrap();
        let messages = cases["messages"].as_array().unwrap();
        let rendered = template.render(messages, &RenderOptions::default()).unwrap();
        assert_eq!(rendered, case["rendered"].as_str().unwrap(), "{name}");
        held += 1;
    }
    println!("{held} extracted cases are exact");
    assert_eq!(held, 15);
}

/// What Python and Jinja2 make of an expression.
#[test]
fn as_python_spells_it() {
    let cases = [
        // json.dumps of Python 3, ensure_ascii=False where transformers' filter says so.
        (
            r#"{{ {"b": [1, 2.0, 1e22, 1e-7, true, none], "a": "é\"<&'\n"} | tojson }}"#,
            r#"{"b": [1, 2.0, 1e+22, 1e-07, true, null], "a": "é\"<&'\n"}"#,
        ),
        (r#"{{ {"b": [1, {}], "a": []} | tojson(indent=2) }}"#, "{\n  \"b\": [\n    1,\n    {}\n  ],\n  \"a\": []\n}"),
        (r#"{{ {"b": 1, "a": [1, 2]} | tojson(separators=(",", ":"), sort_keys=true) }}"#, r#"{"a":[1,2],"b":1}"#),
        (r#"{{ "é🙂" | tojson(ensure_ascii=true) }}"#, r#""\u00e9\ud83d\ude42""#),
        // str() and repr().
        (
            "{{ none }} {{ true }} {{ [1.0, 'a', none] }} {{ {'a': (1, 'b')} }}",
            "None True [1.0, 'a', None] {'a': (1, 'b')}",
        ),
        (
            "{{ 1e16 }} {{ 1e15 }} {{ 0.0001 }} {{ 0.00001 }} {{ 7 / 2 }} {{ 4 / 2 }} {{ 7 // 2 }}",
            "1e+16 1000000000000000.0 0.0001 1e-05 3.5 2.0 3",
        ),
        ("{{ 1e-7 | string }} {{ true | string }} {{ none ~ 1 }}", "1e-07 True None1"),
        (
            "{{ tools is iterable }} {{ 'a' is sequence }} {{ {} is iterable }} {{ 1 is iterable }} {{ messages[1:] is sequence }}",
            "False True True False True",
        ),
        // Methods.
        (
            "{{ ' a b '.strip() }}|{{ 'a,b'.split(',')[-1] }}|{{ 'ab'.startswith('a') }}|{{ 'xxab'.lstrip('x') }}",
            "a b|b|True|ab",
        ),
        (
            "{{ 'abc'.removeprefix('a') }}|{{ 'a=b=c'.partition('=') }}|{{ 'a.b.c'.rsplit('.', 1) }}",
            "bc|('a', '=', 'b=c')|['a.b', 'c']",
        ),
        ("{% for key, value in {'items': 1, 'b': 2}.items() %}{{ key }}{{ value }} {% endfor %}", "items1 b2 "),
        ("{{ {'a': 1}.get('b') }} {{ {'a': 1}.get('b', 3) }}", "None 3"),
        // Blocks trim the line end after them and the spaces before them; one line end at the end goes.
        ("a\n  {% if true %}\n  b\n  {% endif %}\n  c\n", "a\n  b\n  c"),
        (
            "{%- for message in messages -%}{%- generation -%}{{ message.content }}{%- endgeneration -%}{% endfor %}",
            "Hello",
        ),
        (
            "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i > 3 %}{% break %}{% endif %}{{ loop.index0 }}{% endfor %}",
            "013",
        ),
        ("{% set ns = namespace(x=0) %}{% for i in [1, 2] %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}", "3"),
        ("{{ tools is none }} {{ documents is none }} {{ bos_token is defined }} {{ nothing }}", "True True False "),
    ];
    for (text, expected) in cases {
        assert_eq!(render(text).unwrap(), expected, "{text}");
    }
    println!("{} expressions are as Python spells them", cases.len());
}

#[test]
fn tools_and_named_templates() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("vocab.json", "{}");
    let tokens = r#""bos_token": {"content": "<b>"}, "eos_token": "<e>", "pad_token": null, "extra_special_tokens": {"image_token": "<i>"}"#;
    let named = r#"[{"name": "tool_use", "template": "{{ tools | tojson }}"}, {"name": "default", "template": "{{ bos_token }}{{ image_token }}{{ pad_token is defined }}{{ enable }}"}]"#;
    write("tokenizer_config.json", &format!(r#"{{{tokens}, "chat_template": {named}}}"#));
    let open = || Template::of(&Checkpoint::open(directory.path()).unwrap()).unwrap();
    let mut options = RenderOptions::default();
    options.variables.insert("enable".into(), false.into());
    assert_eq!(open().render(&[], &options).unwrap(), "<b><i>FalseFalse");
    options.tools = Some(vec![json!({ "type": "function", "function": { "name": "f", "b": 1, "a": 2 } })]);
    let expected = r#"[{"type": "function", "function": {"name": "f", "b": 1, "a": 2}}]"#;
    assert_eq!(open().render(&[], &options).unwrap(), expected);
    // A file of its own comes before the settings.
    write("chat_template.jinja", "{{ eos_token }}\n");
    assert_eq!(open().render(&[], &options).unwrap(), "<e>");
    write("other.jinja", "{{ bos_token }}{{ messages[0].content }}");
    let other =
        Template::from_file(&directory.path().join("other.jinja"), &Checkpoint::open(directory.path()).unwrap());
    assert_eq!(other.unwrap().render(&[message("user", "a")], &options).unwrap(), "<b>a");
}

#[test]
fn templates_in_gguf() {
    let Some(path) = data("tokenizers/llama.cpp-vocab/ggml-vocab-phi-3.gguf") else { return };
    let checkpoint = Checkpoint::open(&path).unwrap();
    let template = Template::of(&checkpoint).unwrap();
    let text = template.render(&[message("user", "Hello")], &RenderOptions::default()).unwrap();
    assert_eq!(text, "<s><|user|>\nHello<|end|>\n<|assistant|>\n");
    // One BOS, and the line ends after special tokens gone, as Phi-3's tokenizer.json has it.
    let ids = Tokenizer::of(&checkpoint).unwrap().encode(&text, EncodeOptions::RENDERED).unwrap();
    assert_eq!(ids, [1, 32010, 15043, 32007, 32001]);
    let Some(path) = data("tokenizers/llama.cpp-vocab/ggml-vocab-gpt-2.gguf") else { return };
    check_message(
        Template::of(&Checkpoint::open(&path).unwrap()),
        &["gpt-2.gguf", "no chat template", "Template::from_file"],
    );
}

#[test]
fn refused_templates() {
    let compile = |text: &str| Template::from_text("test.jinja", text.into(), Map::new());
    check_message(compile("a\n\n{% if %}{% endif %}"), &["test.jinja", "line 3", "Template::from_file"]);
    check_message(compile("{% for x in y %}"), &["test.jinja", "line 1", "end of input"]);
    check_message(compile("{% frobnicate %}"), &["frobnicate"]);
    let cases: [(&str, &[&str]); 9] = [
        ("\n{{ raise_exception('roles must alternate') }}", &["line 2", "roles must alternate", "change the messages"]),
        ("\n\n{{ nothing.content }}", &["line 3", "nothing"]),
        ("{{ 'a' + 1 }}", &["line 1", "string and number"]),
        ("{{ messages | frobnicate }}", &["frobnicate"]),
        ("{{ nothing | tojson }}", &["undefined"]),
        ("{% include 'other' %}", &["other"]),
        ("{{ strftime_now('%Q %') }}", &["strftime_now", "%Q"]),
        ("{{ messages[0].content.frobnicate() }}", &["frobnicate"]),
        ("{{ 'a'.rsplit('') }}", &["separator"]),
    ];
    for (text, parts) in cases {
        check_message(render(text), parts);
    }
}

/// Templates without an end, without a bottom, or without bounds.
#[test]
fn runaway_templates() {
    let loops = "{% for a in range(99999) %}".repeat(3) + &"{% endfor %}".repeat(3);
    check_message(render(&loops), &["does not come to an end"]);
    check_message(render("{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}"), &["recursion"]);
    check_message(render("{% for a in range(99) %}{{ 'x' * 90000000 }}{% endfor %}"), &["writes more"]);
    check_message(render("{{ 'x' * 900000000000 }}"), &["too large"]);
    let nested = |with: &str| {
        let bottomless = "{% set n = namespace(x=[]) %}{% for a in range(99999) %}{% set n.x = [n.x] %}{% endfor %}";
        render(&format!(
            "{{% set n = namespace(x=[]) %}}{{% for a in range(30000) %}}{{% set n.x = [n.x] %}}{{% endfor %}}{with}"
        ))
        .and(render(bottomless))
    };
    check_message(nested("{{ n.x }}"), &["does not come to an end"]);
    check_message(nested("{{ n.x == n.x }}"), &["does not come to an end"]);
    check_message(nested("{{ n.x | tojson }}"), &["too deeply"]);
    let deep = format!("{{{{ {} }}}}", "[".repeat(100_000));
    check_message(Template::from_text("test.jinja", deep, Map::new()), &["line 1", "recursion"]);
}

/// All tokens that end a text or a turn: those that a file names, and those known by their texts.
#[test]
fn end_tokens() {
    let Some(path) = data("models/stories260k/stories260k-f32.gguf") else { return };
    let checkpoint = Checkpoint::open(path).unwrap();
    let Settings::Gguf(metadata) = checkpoint.settings() else { panic!("a GGUF file has metadata") };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ends.gguf");
    let check = |marks: &[(&str, i32)], ids: &[(&str, u32)], expected: &[u32]| {
        let mut entries = metadata.entries.clone();
        for (key, id) in ids {
            entries.insert(format!("tokenizer.ggml.{key}_token_id"), gguf::Value::U32(*id));
        }
        let tokens = entries.get_mut("tokenizer.ggml.tokens").unwrap();
        let gguf::Value::Array(gguf::Array::String(tokens)) = tokens else { panic!("tokens are strings") };
        let mut kinds = vec![1; tokens.len()];
        for (place, (text, kind)) in marks.iter().enumerate() {
            tokens[500 + place] = (*text).into();
            kinds[500 + place] = *kind;
        }
        entries.insert("tokenizer.ggml.token_type".into(), gguf::Value::Array(gguf::Array::I32(kinds)));
        let entries: Vec<_> = entries.into_iter().collect();
        gguf::writer::write(&path, &entries, &checkpoint).unwrap();
        let mut ends = Config::of(&Checkpoint::open(&path).unwrap()).unwrap().ends;
        ends.sort_unstable();
        assert_eq!(ends, expected, "{marks:?} {ids:?}");
    };
    check(&[], &[("eos", 2), ("eot", 7), ("eom", 9)], &[2, 7, 9]);
    // Control and user-defined ones; a piece of text of this name ends nothing.
    check(&[("<|eot_id|>", 3), ("<end_of_turn>", 4), ("<|im_end|>", 1)], &[], &[2, 500, 501]);
    // In gpt-oss <|end|> ends a part of an answer; elsewhere it ends the turn.
    check(&[("<|return|>", 3), ("<|end|>", 3), ("<|call|>", 3)], &[], &[2, 500, 502]);
    check(&[("<|end|>", 3)], &[("eos", 500)], &[500]);
}
