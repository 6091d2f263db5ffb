//! AMD's cards, which the machine that tests does not have: what Mesa's driver for them makes of every shader that they get, held to a record.
//!
//! The driver, RADV, opens cards that are not there and compiles for them; nothing runs. The record is amd.tsv, in this folder: registers,
//! waves, instructions of the innermost loop. A shader that spills, uses scratch memory, or has fewer waves than its record, fails;
//! `PLYWOOD_RECORD=1` writes the record anew.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use plywood_kernels::compose::compose;
use plywood_kernels::device::{Features, Processor};
use plywood_kernels::dispatch::Shader;
use plywood_kernels::formats;
use plywood_tests::none_wrong;

use crate::variants::{Variant, variants};
use crate::{compiler, parse};

/// RDNA 3, RDNA 2 and GCN, by the driver's names: a 7900 XTX, a 6900 XT and a Vega 64.
const CARDS: [&str; 3] = ["navi31", "navi21", "vega10"];

/// What wgpu tells of such a card under this driver.
const FEATURES: Features = Features {
    subgroup: Some((32, 64)),
    f16: true,
    workgroup_bytes: 64 << 10,
    workgroup_invocations: 1024,
    processor: Processor::Gpu,
};

/// The figures of each row, on each card.
type Table = BTreeMap<String, [Figures; CARDS.len()]>;

/// What is compared of a compiled shader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Figures {
    /// Vector registers of a lane.
    registers: u64,
    /// Waves that a SIMD holds at the same time.
    waves: u64,
    /// Bytes of workgroup memory.
    workgroup_bytes: u64,
    /// Of the innermost loop with the most of them: vector instructions, of these dot products and multiply-adds.
    vector: u64,
    multiply: u64,
    /// Loads from memory, and accesses to workgroup memory.
    loads: u64,
    workgroup: u64,
    /// Registers that did not fit, and bytes of scratch memory.
    spills: u64,
    scratch: u64,
}

impl Figures {
    /// The figures in a line of compile-for-amd.
    fn of(line: &str) -> Figures {
        let line: serde_json::Value = serde_json::from_str(line).expect("compile-for-amd writes JSON");
        let number = |name: &str| line["statistics"][name].as_u64().unwrap_or_else(|| panic!("no `{name}` in {line}"));
        let body = innermost(line["instructions"].as_str().expect("instructions"));
        let count = |is: &dyn Fn(&str) -> bool| body.iter().filter(|instruction| is(instruction)).count() as u64;
        let multiplies = ["v_fma", "v_mad_", "v_mac", "v_dot", "v_pk_fma", "v_dual_fma", "v_wmma"];
        Figures {
            registers: number("VGPRs"),
            waves: number("Subgroups per SIMD"),
            workgroup_bytes: number("LDS size"),
            vector: count(&|instruction| instruction.starts_with("v_")),
            multiply: count(&|instruction| multiplies.iter().any(|start| instruction.starts_with(start))),
            loads: count(&|instruction| instruction.contains("_load_") && !instruction.starts_with("s_")),
            workgroup: count(&|instruction| instruction.starts_with("ds_")),
            spills: number("Spilled SGPRs") + number("Spilled VGPRs"),
            scratch: number("Scratch size"),
        }
    }

    /// The worse of two in each figure.
    fn worse(self, other: Figures) -> Figures {
        let most = |figure: fn(&Figures) -> u64| figure(&self).max(figure(&other));
        Figures {
            registers: most(|figures| figures.registers),
            waves: self.waves.min(other.waves),
            workgroup_bytes: most(|figures| figures.workgroup_bytes),
            vector: most(|figures| figures.vector),
            multiply: most(|figures| figures.multiply),
            loads: most(|figures| figures.loads),
            workgroup: most(|figures| figures.workgroup),
            spills: most(|figures| figures.spills),
            scratch: most(|figures| figures.scratch),
        }
    }
}

/// The instructions of the loop with no loop in it that has the most; all, where there is no loop.
fn innermost(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().map(|line| line.split(';').next().unwrap_or("").trim()).collect();
    let labels: BTreeMap<&str, usize> =
        lines.iter().enumerate().filter_map(|(at, line)| Some((line.strip_suffix(':')?, at))).collect();
    let mut loops: Vec<(usize, usize)> = Vec::new();
    for (last, line) in lines.iter().enumerate() {
        let is_branch = line.starts_with("s_branch") || line.starts_with("s_cbranch");
        let target = line.split_whitespace().last().filter(|_| is_branch).and_then(|label| labels.get(label));
        if let Some(first) = target.filter(|first| **first <= last) {
            match loops.iter_mut().find(|(begin, _)| begin == first) {
                Some((_, end)) => *end = last,
                None => loops.push((*first, last)),
            }
        }
    }
    let has_none = |(first, last): &(usize, usize)| {
        !loops.iter().any(|(begin, end)| (begin, end) != (first, last) && first <= begin && end <= last)
    };
    let own = loops.iter().filter(|one| has_none(one)).max_by_key(|(first, last)| last - first);
    let (first, last) = own.copied().unwrap_or((0, lines.len().saturating_sub(1)));
    lines[first..=last].iter().filter(|line| !line.is_empty() && !line.ends_with(':')).copied().collect()
}

/// SPIR-V as wgpu has it written for Vulkan by a release build.
fn spirv(variant: &Variant) -> Vec<u32> {
    let (module, info) =
        parse(&compose(&variant.shader)).expect("every variant is valid: see every_variant_for_every_target");
    let unchecked = BoundsCheckPolicy::Unchecked;
    let options = spv::Options {
        lang_version: (1, 6),
        bounds_check_policies: BoundsCheckPolicies {
            index: unchecked,
            buffer: unchecked,
            image_load: unchecked,
            binding_array: unchecked,
        },
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        ..Default::default()
    };
    let entry = spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: "main".into() };
    spv::write_vec(&module, &info, &options, Some(&entry)).expect("SPIR-V can be written")
}

/// What a row of the record is about: shaders that differ in anything else share it, and the worst of them counts.
fn row(shader: &Shader) -> String {
    let weight = shader.modules.iter().find(|(name, _)| *name == "weight").map(|(_, wgsl)| *wgsl);
    let format = weight.and_then(|wgsl| formats::ALL.iter().find(|format| format.wgsl == wgsl));
    let mut row = shader.name.to_owned();
    if let Some(format) = format {
        write!(row, " {format}").expect("writing to a string");
    }
    for (name, number) in &shader.constants {
        write!(row, " {}={number}", name.to_lowercase()).expect("writing to a string");
    }
    row
}

/// Compiles shaders for a card; what came out, in the order of the files.
fn compile(driver: &Path, card: &str, files: &[PathBuf]) -> Vec<Figures> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_compile-for-amd"));
    let folder = driver.parent().expect("a file is in a folder");
    command.arg(driver).args(files);
    command.env("RADV_FORCE_FAMILY", card).env("MESA_SHADER_CACHE_DISABLE", "1").env("LD_LIBRARY_PATH", folder);
    let output = command.output().expect("compile-for-amd starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "compile-for-amd for {card}: {errors}");
    String::from_utf8_lossy(&output.stdout).lines().map(Figures::of).collect()
}

#[test]
fn no_shader_spills_or_loses_waves_on_amd() {
    let Some(driver) = compiler("PLYWOOD_RADV", "mesa/libvulkan_radeon.so") else { return };
    let folder = tempfile::tempdir().expect("a folder for shaders");
    let variants = variants(&[FEATURES]);
    let files: Vec<PathBuf> = (0..variants.len()).map(|index| folder.path().join(format!("{index}.spv"))).collect();
    for (variant, file) in variants.iter().zip(&files) {
        let bytes: Vec<u8> = spirv(variant).into_iter().flat_map(u32::to_le_bytes).collect();
        std::fs::write(file, bytes).expect("a shader can be written");
    }
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    let mut table = Table::new();
    for (index, card) in CARDS.into_iter().enumerate() {
        let parts = files.chunks(files.len().div_ceil(at_once));
        let compiled: Vec<Figures> = thread::scope(|scope| {
            let driver = &driver;
            let workers: Vec<_> = parts.map(|part| scope.spawn(move || compile(driver, card, part))).collect();
            workers.into_iter().flat_map(|worker| worker.join().expect("a worker ends")).collect()
        });
        assert_eq!(compiled.len(), variants.len(), "every shader came out on {card}");
        for (variant, figures) in variants.iter().zip(compiled) {
            let kept = table
                .entry(row(&variant.shader))
                .or_insert_with(|| [Figures { waves: u64::MAX, ..Figures::default() }; CARDS.len()]);
            kept[index] = kept[index].worse(figures);
        }
    }
    println!("{} shaders in {} rows, for {}", variants.len(), table.len(), CARDS.join(", "));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shaders/amd.tsv");
    if std::env::var_os("PLYWOOD_RECORD").is_some() {
        std::fs::write(&path, render(&table)).expect("the record can be written");
    }
    let record = std::fs::read_to_string(&path).expect("the record is there");
    none_wrong(&faults(&table, &record));
}

#[test]
fn faults_of_amd_shaders_are_seen() {
    let figures = |waves, spills, scratch| [Figures { waves, spills, scratch, ..Figures::default() }; CARDS.len()];
    let table = |figures| Table::from([("shader".to_owned(), figures)]);
    let record = render(&table(figures(8, 0, 0)));
    let check = |figures, wrong: usize| assert_eq!(faults(&table(figures), &record).len(), wrong, "{figures:?}");
    check(figures(8, 0, 0), 0);
    check(figures(9, 0, 0), 0);
    check(figures(7, 0, 0), CARDS.len());
    check(figures(8, 1, 0), CARDS.len());
    check(figures(8, 0, 16), CARDS.len());
    assert_eq!(faults(&table(figures(8, 0, 0)), "").len(), 1, "a shader that is not in the record");
}

/// The record: a line for each row, with the figures of each card.
fn render(table: &Table) -> String {
    let mut text = String::from("shader");
    for card in CARDS {
        write!(text, "\t{card}: registers waves workgroup_bytes | vector multiply loads workgroup")
            .expect("writing to a string");
    }
    text.push('\n');
    for (row, cards) in table {
        text.push_str(row);
        for figures in cards {
            let Figures { registers, waves, workgroup_bytes, vector, multiply, loads, workgroup, .. } = figures;
            write!(text, "\t{registers} {waves} {workgroup_bytes} | {vector} {multiply} {loads} {workgroup}")
                .expect("writing to a string");
        }
        text.push('\n');
    }
    text
}

/// What a table has that its record does not allow.
fn faults(table: &Table, record: &str) -> Vec<String> {
    let waves = |card: &str| -> u64 {
        let waves = card.split(' ').nth(1).and_then(|waves| waves.parse().ok());
        waves.unwrap_or_else(|| panic!("amd.tsv: `{card}` has no number of waves"))
    };
    let lines = record.lines().skip(1).filter_map(|line| line.split_once('\t'));
    let recorded: BTreeMap<&str, Vec<u64>> =
        lines.map(|(row, cards)| (row, cards.split('\t').map(waves).collect())).collect();
    let mut wrong = Vec::new();
    for (row, cards) in table {
        let Some(waves) = recorded.get(row.as_str()) else {
            wrong.push(format!("{row}: not in the record; PLYWOOD_RECORD=1 writes it anew"));
            continue;
        };
        assert_eq!(waves.len(), CARDS.len(), "amd.tsv has every card in {row}");
        for ((card, figures), recorded) in CARDS.iter().zip(cards).zip(waves) {
            if figures.spills > 0 || figures.scratch > 0 {
                wrong.push(format!("{row} on {card}: {} spills, {} bytes of scratch", figures.spills, figures.scratch));
            }
            if figures.waves < *recorded {
                wrong.push(format!("{row} on {card}: {} waves, where {recorded} are recorded", figures.waves));
            }
        }
    }
    wrong
}
