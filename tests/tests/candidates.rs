//! What somebody who writes kernels adds, each in one place: a candidate of an op, and a rewrite of a graph.

use std::sync::Arc;

use plywood::devices::{Adapters, Kind};
use plywood::testing::Key;
use plywood::testing::case_plan;
use plywood::testing::{Choices, Preference};
use plywood::testing::{Limits, StagePlan};
use plywood::tools::selftest::{Bench, Expected};
use plywood_kernels::add::Add;
use plywood_kernels::candidate::Candidate;
use plywood_kernels::cases::Case;
use plywood_kernels::device::{Features, Processor};
use plywood_kernels::dispatch::{Binding, Count, Extent, Grid, Launch, Lowered, Work, read, write};
use plywood_kernels::fuse::{DeviceNodes, RULES, Replacement, Rule};
use plywood_kernels::graph::{Node, Output, Rows};
use plywood_kernels::lowering::LoweringContext;
use plywood_kernels::op::{Kernel, Op};
use plywood_kernels::params;
use plywood_kernels::reference::Operands;
use plywood_tests::none_wrong;

const SLOW: &str = "one invocation to a row";

/// The sum of two values, with a second candidate that is slow on purpose.
#[derive(Debug)]
struct SlowAdd {
    /// What the second candidate adds besides: a mistake, where it is not 0.
    mistake: f32,
}

impl Kernel for SlowAdd {
    fn name(&self) -> &'static str {
        "slow_add"
    }

    fn candidates(&self, context: &LoweringContext) -> Vec<Candidate> {
        [Add.candidates(context), vec![Candidate::new(SLOW)]].concat()
    }

    fn lower(&self, context: &LoweringContext, candidate: &Candidate) -> Lowered {
        if candidate.method() != SLOW {
            return Add.lower(context, candidate);
        }
        let [a, b] = ["a", "b"].map(|name| context.inputs[name]);
        let output = context.output();
        Lowered::one(Launch {
            shader: (
                "slow_add",
                "@compute @workgroup_size(1)
                fn main(@builtin(workgroup_id) group: vec3<u32>) {
                    for (var column = 0u; column < params.width; column++) {
                        output[params.output_offset + group.y * params.output_stride + column] = params.mistake
                            + a[params.a_offset + group.y * params.a_stride + column]
                            + b[params.b_offset + group.y * params.b_stride + column];
                    }
                }",
            ),
            modules: vec![],
            constants: vec![],
            params: params! { width: output.width, mistake: self.mistake, a: a, b: b, output: output },
            bindings: vec![
                read("a", "f32", "[rows, width]", Binding::Input("a")),
                read("b", "f32", "[rows, width]", Binding::Input("b")),
                write("output", "f32", "[rows, width]", Binding::Output),
            ],
            grid: Grid { spread: Count::fixed(1), rows: Count::each(Extent::Rows(context.rows)) },
            work: Work::fixed(u64::from(output.width)),
        })
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        Add.reference(operands)
    }
}

/// A sum of three rows of 70.
fn case(mistake: f32) -> Case {
    let mut case = Case::new("slow_add", "3x70".into(), 3);
    let [a, b] = ["a", "b"].map(|name| (name, case.graph.input(name, Rows::Tokens, 70)));
    let sum = case.graph.value("sum", Rows::Tokens, 70);
    let inputs = [a, b].map(|(name, value)| (name, case.graph.whole(value)));
    case.graph.node(Op::Custom(Arc::new(SlowAdd { mistake })), &inputs, &[], None, Some(sum));
    case.output(sum);
    case
}

/// The plan of a case on the least device with shaders.
fn plan(case: &Case, choices: Choices) -> StagePlan {
    let adapters = Adapters::find();
    let limits = adapters.list().last().expect("the host is always there").limits();
    let features = Features { processor: Processor::Cpu, ..limits.features };
    case_plan(case, Limits { choices, features, ..limits }).expect("a case can be planned")
}

/// Self-test runs the second candidate by itself, and sees where it is wrong.
#[test]
fn a_second_candidate_is_tested() {
    let adapters = Adapters::find();
    let mut wrong = Vec::new();
    for adapter in adapters.list().iter().filter(|adapter| adapter.kind != Kind::Host) {
        let bench = Bench::open(&adapters, adapter).expect("the adapter opens");
        let check = |mistake: f32| {
            let case = case(mistake);
            let (expected, variants) = (Expected::of(&case), bench.variants(&case).into_iter());
            let slow = variants.filter(|variant| variant.preferred.as_ref().is_some_and(|by| by.candidate == SLOW));
            slow.map(|variant| bench.check(&expected, &variant)).collect::<Vec<_>>()
        };
        let (right, mistaken) = (check(0.0), check(1e-3));
        println!("{}: {} of {SLOW}", adapter.label(), right.len());
        let name =
            |passed: bool| format!("{}: {right:?} or {mistaken:?}, of which {passed} should pass", adapter.label());
        wrong.extend((right.is_empty() || !right.iter().all(|result| result.passed)).then(|| name(true)));
        wrong.extend(mistaken.iter().any(|result| result.passed).then(|| name(false)));
    }
    none_wrong(&wrong);
}

/// The engine takes the candidate that it is told to take; its plan and its recording name it.
#[test]
fn a_candidate_can_be_chosen() {
    let case = case(0.0);
    let preference = Preference { op: "slow_add".into(), candidate: SLOW.into() };
    for (preferred, expected, shader) in [(vec![], "plain", "add"), (vec![preference], SLOW, "slow_add")] {
        let plan = plan(&case, Choices { preferred, ..Choices::default() });
        let names: Vec<String> = plan.kernels().into_iter().map(|kernel| kernel.candidate).collect();
        assert_eq!(names, [expected]);
        let recording = plan.record(&Key::of(&case.steps[0], &[Output::Logits]));
        assert_eq!(recording.commands[0].shader.name, shader);
        assert!(recording.to_string().contains(expected), "{recording}");
    }
}

/// `a + a` becomes a product with two: a rule like any other, though nobody wants it.
#[derive(Debug)]
struct Doubled;

impl Rule for Doubled {
    fn name(&self) -> &'static str {
        "doubled"
    }

    fn replacement(&self, part: &DeviceNodes, index: usize) -> Option<Replacement> {
        let node = &part.nodes[index];
        let is_doubled = matches!(node.op, Op::Add(_)) && node.inputs["a"] == node.inputs["b"];
        let op = Op::Custom(Arc::new(Twice));
        let inputs = [("input", node.inputs.get("a").copied()?)].into_iter().collect();
        is_doubled.then(|| Replacement { replaced: 1, nodes: vec![Node { op, inputs, ..node.clone() }] })
    }
}

/// Twice a value.
#[derive(Debug)]
struct Twice;

impl Kernel for Twice {
    fn name(&self) -> &'static str {
        "twice"
    }

    fn lower(&self, context: &LoweringContext, _: &Candidate) -> Lowered {
        let source = "@compute @workgroup_size(WORKGROUP)
            fn main(@builtin(global_invocation_id) id: vec3<u32>) {
                if id.x < params.width {
                    output[params.output_offset + id.y * params.output_stride + id.x] =
                        2.0 * input[params.input_offset + id.y * params.input_stride + id.x];
                }
            }";
        Lowered::one(Launch::elementwise(context, ("twice", source), vec![], vec![], vec![]))
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let input = operands.inputs["input"];
        (0..operands.rows).flat_map(|row| input.row(row)).map(|number| 2.0 * number).collect()
    }
}

/// A rule that is given to the engine is found and used.
#[test]
fn a_rule_can_be_added() {
    let mut doubled = Case::new("add", "a value and itself".into(), 5);
    let input = doubled.graph.input("input", Rows::Tokens, 33);
    let sum = doubled.graph.value("sum", Rows::Tokens, 33);
    let whole = doubled.graph.whole(input);
    doubled.graph.node(Op::Add(Add), &[("a", whole), ("b", whole)], &[], None, Some(sum));
    doubled.output(sum);
    let ops = |rules: &[&'static dyn Rule]| -> Vec<&str> {
        let plan = plan(&doubled, Choices { rules: rules.to_vec(), ..Choices::default() });
        plan.nodes.iter().map(|node| node.op.kernel().name()).collect()
    };
    assert_eq!(ops(RULES), ["add"]);
    assert_eq!(ops(&[RULES, &[&Doubled]].concat()), ["twice"]);
}
