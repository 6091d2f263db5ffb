//! Puts WGSL together: `#import name` lines, also those of modules, become the module of that name, `$` its prefix.
//!
//! There are no conditionals: kinds vary by which module a name stands for, numbers by constants. Constants, `Params` and bindings
//! are written before the first line, as the kernel declared them. (Constants rather than `override`s: WGSL lets no override size
//! a local array, and one mechanism is enough.)

use std::fmt::Write;

use crate::dispatch::{Access, Shader};

/// The WGSL of a shader.
///
/// Panics where an import has no module: the source and its lowering are both ours.
pub fn compose(shader: &Shader) -> String {
    let mut body = String::new();
    expand(shader, shader.source, &mut body);
    // Directives must come before everything else, wherever a module wrote them.
    let (enables, rest): (Vec<&str>, Vec<&str>) = body.lines().partition(|line| line.starts_with("enable "));
    let mut wgsl = String::new();
    for enable in enables {
        writeln!(wgsl, "{enable}").expect("writing to a string");
    }
    for (name, value) in &shader.constants {
        writeln!(wgsl, "const {name}: u32 = {value}u;").expect("writing to a string");
    }
    declare(shader, &mut wgsl);
    wgsl.push_str(&rest.join("\n"));
    wgsl
}

/// Writes some text of a shader with the modules that it imports.
fn expand(shader: &Shader, text: &str, body: &mut String) {
    for line in text.lines() {
        match line.strip_prefix("#import ") {
            Some(name) => {
                let module = shader.modules.iter().find(|(module, _)| *module == name.trim());
                let (_, text) = module.unwrap_or_else(|| panic!("shader {}: nothing stands for `{line}`", shader.name));
                expand(shader, &text.replace('$', &format!("{}_", name.trim())), body);
            }
            None => {
                body.push_str(line);
                body.push('\n');
            }
        }
    }
}

/// Writes `Params` and the bindings.
fn declare(shader: &Shader, wgsl: &mut String) {
    if !shader.params.is_empty() {
        wgsl.push_str("struct Params {\n");
        for (name, field) in &shader.params {
            writeln!(wgsl, "    {name}{}: {},", field.suffix, field.kind).expect("writing to a string");
        }
        wgsl.push_str("}\n@group(0) @binding(0) var<uniform> params: Params;\n");
    }
    for (index, declaration) in shader.bindings.iter().enumerate() {
        let access = match declaration.access {
            Access::Read => "read",
            Access::Write => "read_write",
        };
        let (binding, name, element) = (index + 1, declaration.name, declaration.element);
        let shape = declaration.shape;
        writeln!(wgsl, "@group(0) @binding({binding}) var<storage, {access}> {name}: array<{element}>; // {shape}")
            .expect("writing to a string");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::{Binding, Count, Dispatch, Grid, Launch, Work, read, write};
    use crate::lowering::View;
    use crate::params;

    #[test]
    fn imports_constants_declarations_and_directives() {
        let launch = Launch {
            shader: ("test", "#import weight\nfn main() { weight_decode(); }"),
            modules: vec![("weight", "enable f16;\n#import scale\nfn $decode() {}"), ("scale", "fn $of() {}")],
            constants: vec![("WORKGROUP", 64)],
            params: params! { rows: 3, scale: 0.5, output: View { offset: 8, stride: 32, width: 20 } },
            bindings: vec![
                read("input", "vec4<f32>", "[rows, 5]", Binding::Input("input")),
                write("output", "f32", "[rows, 20]", Binding::Output),
            ],
            grid: Grid { spread: Count::fixed(1), rows: Count::fixed(1) },
            work: Work::fixed(1),
        };
        let dispatch = Dispatch::from(launch);
        assert_eq!(dispatch.params, [3, 0.5f32.to_bits(), 8, 32]);
        assert_eq!(dispatch.bindings, [Binding::Input("input"), Binding::Output]);
        assert_eq!(
            compose(&dispatch.shader),
            "enable f16;
const WORKGROUP: u32 = 64u;
struct Params {
    rows: u32,
    scale: f32,
    output_offset: u32,
    output_stride: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>; // [rows, 5]
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // [rows, 20]
fn scale_of() {}
fn weight_decode() {}
fn main() { weight_decode(); }"
        );
    }
}
