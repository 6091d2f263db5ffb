//! Puts WGSL together: `#import name` lines become the module of that name, `$` its prefix.
//!
//! There are no conditionals: kinds vary by which module a name stands for, numbers by constants
//! that are set before the first line. (Constants rather than `override`s: WGSL lets no override size a
//! local array, and one mechanism is enough.)

use std::fmt::Write;

use crate::op::Shader;

/// The WGSL of a shader.
///
/// Panics where an import has no module: the source and its lowering are both ours.
pub fn compose(shader: &Shader) -> String {
    let mut body = String::new();
    for line in shader.source.lines() {
        match line.strip_prefix("#import ") {
            Some(name) => {
                let module = shader.modules.iter().find(|(module, _)| *module == name.trim());
                let (_, text) = module.unwrap_or_else(|| panic!("shader {}: nothing stands for `{line}`", shader.name));
                body.push_str(&text.replace('$', &format!("{}_", name.trim())));
            }
            None => body.push_str(line),
        }
        body.push('\n');
    }
    // Directives must come before everything else, wherever a module wrote them.
    let (enables, rest): (Vec<&str>, Vec<&str>) = body.lines().partition(|line| line.starts_with("enable "));
    let mut wgsl = String::new();
    for enable in enables {
        writeln!(wgsl, "{enable}").expect("writing to a string");
    }
    for (name, value) in &shader.constants {
        writeln!(wgsl, "const {name}: u32 = {value}u;").expect("writing to a string");
    }
    wgsl.push_str(&rest.join("\n"));
    wgsl
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_constants_and_directives() {
        let shader = Shader {
            name: "test",
            source: "#import weight\nfn main() { $weight(); }",
            modules: vec![("weight", "enable f16;\nfn $decode() {}")],
            constants: vec![("WORKGROUP", 64)],
        };
        assert_eq!(
            compose(&shader),
            "enable f16;\nconst WORKGROUP: u32 = 64u;\nfn weight_decode() {}\nfn main() { $weight(); }"
        );
    }
}
