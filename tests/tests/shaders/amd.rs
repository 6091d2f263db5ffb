//! AMD's cards, which the machine that tests does not have: what Mesa's driver for them makes of every shader that they get, held to a record.
//!
//! The driver, RADV, opens cards that are not there and compiles for them; nothing runs. The record is amd.tsv, in this folder: registers,
//! waves, instructions of the innermost loop. A shader that spills, uses scratch memory, or has fewer waves than its record, fails;
//! `PLYWOOD_RECORD=1` writes the record anew. Shaders that are those of the record, by a digest of their SPIR-V and of the driver, are not compiled again.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use plywood_kernels::compose::compose;
use plywood_kernels::device::Features;
use plywood_kernels::dispatch::Shader;
use plywood_kernels::formats;
use plywood_tests::none_wrong;

use crate::variants::{Variant, variants};
use crate::{compiler, parse};

/// RDNA 3, RDNA 2 and GCN, by the driver's names: a 7900 XTX, a 6900 XT and a Vega 64.
const CARDS: [&str; 3] = ["navi31", "navi21", "vega10"];

/// What wgpu tells of such a card under this driver.
const FEATURES: Features = Features { subgroup: Some((32, 64)), workgroup_bytes: 64 << 10, ..Features::CARD };

/// The figures of each row, on each card.
type Table = BTreeMap<String, [Figures; CARDS.len()]>;

/// What the record has of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Recorded {
    /// Of the row's shaders.
    digest: u64,
    /// On each card.
    waves: Vec<u64>,
    /// The line after the digest.
    cards: String,
}

/// FNV-1a, which is the same everywhere and always.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |digest, byte| (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

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
    let module = |module: &str| shader.modules.iter().find(|(name, _)| *name == module).map(|(_, wgsl)| *wgsl);
    let format = module("weight").and_then(|wgsl| formats::ALL.iter().find(|format| format.wgsl == wgsl));
    let normalises = module("norm").is_some_and(|wgsl| wgsl.contains("epsilon"));
    let mut row = shader.name.to_owned();
    if let Some(format) = format {
        write!(row, " {format}").expect("writing to a string");
    }
    if normalises {
        row += " norm";
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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shaders/amd.tsv");
    let is_recording = std::env::var_os("PLYWOOD_RECORD").is_some();
    let (recorded_driver, record) = match std::fs::read_to_string(&path) {
        Ok(text) => read_record(&text),
        Err(_) if is_recording => (0, BTreeMap::new()),
        Err(error) => panic!("{}: {error}", path.display()),
    };
    let nothing = BTreeMap::new();
    let driver_digest = digest(&std::fs::read(&driver).expect("the driver is there"));
    let same_driver = driver_digest == recorded_driver;

    let mut rows: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for variant in variants(&[FEATURES]) {
        let bytes = spirv(&variant).into_iter().flat_map(u32::to_le_bytes).collect();
        rows.entry(row(&variant.shader)).or_default().push(bytes);
    }
    // Sums don't depend on an order.
    let digests: BTreeMap<String, u64> = rows
        .iter()
        .map(|(row, shaders)| (row.clone(), shaders.iter().fold(0u64, |sum, shader| sum.wrapping_add(digest(shader)))))
        .collect();
    let (all, of_all) = (rows.values().map(Vec::len).sum::<usize>(), rows.len());
    // For whoever writes a kernel: only the rows that name this, printed and not compared.
    if let Ok(wanted) = std::env::var("PLYWOOD_ROWS") {
        rows.retain(|row, _| row.contains(&wanted));
        let digests = rows.keys().map(|row| (row.clone(), digests[row])).collect();
        println!("{}", render(driver_digest, &digests, &compiled(&driver, &rows), &nothing));
        return;
    }
    rows.retain(|row, _| !same_driver || record.get(row).is_none_or(|recorded| recorded.digest != digests[row]));
    let table = compiled(&driver, &rows);
    let new = rows.values().map(Vec::len).sum::<usize>();
    println!("{new} of {all} shaders, in {} of {of_all} rows, compiled for {}", table.len(), CARDS.join(", "));

    // What spills is never recorded: it would not be looked at again.
    let mut wrong = faults(&table, if is_recording { &nothing } else { &record });
    if !is_recording {
        let missing = digests.keys().filter(|row| !record.contains_key(*row));
        wrong.extend(missing.map(|row| format!("{row}: not in the record; PLYWOOD_RECORD=1 writes it anew")));
    } else if wrong.is_empty() {
        let text = render(driver_digest, &digests, &table, &record);
        std::fs::write(&path, text).expect("the record can be written");
    }
    none_wrong(&wrong);
}

/// The figures of rows of shaders.
fn compiled(driver: &Path, rows: &BTreeMap<String, Vec<Vec<u8>>>) -> Table {
    let folder = tempfile::tempdir().expect("a folder for shaders");
    let shaders: Vec<(&String, &Vec<u8>)> =
        rows.iter().flat_map(|(row, shaders)| shaders.iter().map(move |shader| (row, shader))).collect();
    let files: Vec<PathBuf> = (0..shaders.len()).map(|index| folder.path().join(format!("{index}.spv"))).collect();
    for ((_, shader), file) in shaders.iter().zip(&files) {
        std::fs::write(file, shader).expect("a shader can be written");
    }
    let mut table = Table::new();
    if files.is_empty() {
        return table;
    }
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    for (index, card) in CARDS.into_iter().enumerate() {
        let parts = files.chunks(files.len().div_ceil(at_once));
        let compiled: Vec<Figures> = thread::scope(|scope| {
            let workers: Vec<_> = parts.map(|part| scope.spawn(move || compile(driver, card, part))).collect();
            workers.into_iter().flat_map(|worker| worker.join().expect("a worker ends")).collect()
        });
        assert_eq!(compiled.len(), shaders.len(), "every shader came out on {card}");
        for ((row, _), figures) in shaders.iter().zip(compiled) {
            let kept = table
                .entry((*row).clone())
                .or_insert_with(|| [Figures { waves: u64::MAX, ..Figures::default() }; CARDS.len()]);
            kept[index] = kept[index].worse(figures);
        }
    }
    table
}

#[test]
fn faults_of_amd_shaders_are_seen() {
    let figures = |waves, spills, scratch| [Figures { waves, spills, scratch, ..Figures::default() }; CARDS.len()];
    let table = |figures| Table::from([("shader".to_owned(), figures)]);
    let digests = BTreeMap::from([("shader".to_owned(), 7)]);
    let text = render(5, &digests, &table(figures(8, 0, 0)), &BTreeMap::new());
    let (driver, record) = read_record(&text);
    assert_eq!((driver, record["shader"].digest), (5, 7));
    // What was not compiled again stays as it is.
    assert_eq!(render(5, &digests, &Table::new(), &record), text);
    let check = |figures, wrong: usize| assert_eq!(faults(&table(figures), &record).len(), wrong, "{figures:?}");
    check(figures(8, 0, 0), 0);
    check(figures(9, 0, 0), 0);
    check(figures(7, 0, 0), CARDS.len());
    check(figures(8, 1, 0), CARDS.len());
    check(figures(8, 0, 16), CARDS.len());
}

/// The record: a line for each row with the digest of its shaders and the figures of each card, new ones where they were compiled.
fn render(driver: u64, digests: &BTreeMap<String, u64>, table: &Table, record: &BTreeMap<String, Recorded>) -> String {
    let mut text = format!("shader\tdriver {driver:016x}");
    for card in CARDS {
        write!(text, "\t{card}: registers waves workgroup_bytes | vector multiply loads workgroup")
            .expect("writing to a string");
    }
    text.push('\n');
    for (row, digest) in digests {
        let cards = match table.get(row) {
            Some(cards) => cards.map(of_card).join("\t"),
            None => record[row].cards.clone(),
        };
        writeln!(text, "{row}\t{digest:016x}\t{cards}").expect("writing to a string");
    }
    text
}

fn of_card(figures: Figures) -> String {
    let Figures { registers, waves, workgroup_bytes, vector, multiply, loads, workgroup, .. } = figures;
    format!("{registers} {waves} {workgroup_bytes} | {vector} {multiply} {loads} {workgroup}")
}

/// The digest of the driver, and every row of a record.
fn read_record(text: &str) -> (u64, BTreeMap<String, Recorded>) {
    let hexadecimal =
        |digits: &str| u64::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("amd.tsv: `{digits}` is no digest"));
    let waves = |card: &str| -> u64 {
        let waves = card.split(' ').nth(1).and_then(|waves| waves.parse().ok());
        waves.unwrap_or_else(|| panic!("amd.tsv: `{card}` has no number of waves"))
    };
    let mut lines = text.lines();
    let header = lines.next().and_then(|header| header.split('\t').nth(1)?.strip_prefix("driver "));
    let driver = hexadecimal(header.expect("amd.tsv names its driver"));
    let row = |line: &str| {
        let parts: Vec<&str> = line.splitn(3, '\t').collect();
        let [row, digest, cards] = parts[..] else { panic!("amd.tsv: `{line}` is no row") };
        let waves: Vec<u64> = cards.split('\t').map(waves).collect();
        assert_eq!(waves.len(), CARDS.len(), "amd.tsv has every card in {row}");
        (row.to_owned(), Recorded { digest: hexadecimal(digest), waves, cards: cards.to_owned() })
    };
    (driver, lines.map(row).collect())
}

/// What is wrong with compiled rows: spills, scratch memory, fewer waves than recorded.
fn faults(table: &Table, record: &BTreeMap<String, Recorded>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (row, cards) in table {
        for (index, (card, figures)) in CARDS.iter().zip(cards).enumerate() {
            if figures.spills > 0 || figures.scratch > 0 {
                wrong.push(format!("{row} on {card}: {} spills, {} bytes of scratch", figures.spills, figures.scratch));
            }
            let recorded = record.get(row).map_or(0, |recorded| recorded.waves[index]);
            if figures.waves < recorded {
                wrong.push(format!("{row} on {card}: {} waves, where {recorded} are recorded", figures.waves));
            }
        }
    }
    wrong
}
