#!/usr/bin/env python3
"""Circles of imports among the files of a Rust crate.

    python3 tests/circles.py CRATE/src [--edges] [--limit N]

Reads every .rs file below the folder, leaves out comments, texts, and what is under #[cfg(test)] (modules in the file, and files that
are declared as such), and maps each path that begins with crate::, super::, self:: or a module of its own (in `use` or in code) to the
file of the longest module that it names, re-exported or not. A declaration `mod x;` is no import. Prints the strongly connected components of more than one file, the largest
first; with --edges the imports inside each; with --limit N only those of more than N, and status 1 if there is one.
"""
import re
import sys
from pathlib import Path


def stripped(text):
    """Without comments, and with empty texts, in one pass."""
    token = re.compile(r'//[^\n]*|/\*.*?\*/|r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?\'(?:\\.[^\']*|[^\'\\])\'', re.S)
    return token.sub(lambda found: " " if found[0].startswith("/") else '""', text)


def closing(text, start):
    """The place behind the bracket that closes the one at `start`."""
    depth = 0
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return place + 1
    return len(text)


def untested(text):
    """Without items under #[cfg(test)]; and the names of the modules that are declared under it."""
    names = set()
    while found := re.search(r"#\[cfg\((?:all\()?test\b[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*", text):
        rest = re.compile(r"[^;{]*[;{]").match(text, found.end())
        if not rest:
            break
        if module := re.search(r"\bmod\s+(\w+)\s*;", rest[0]):
            names.add(module[1])
        end = rest.end() if rest[0].endswith(";") else closing(text, rest.end() - 1)
        text = text[: found.start()] + text[end:]
    return text, names


def trees(tree, prefix=()):
    """All paths of a use tree."""
    tree = tree.strip()
    head, brace, rest = tree.partition("{")
    if not brace:
        path = re.sub(r"\s+as\s+\w+$", "", tree)
        yield prefix + tuple(part.strip() for part in path.split("::") if part.strip())
        return
    inner = rest[: rest.rindex("}")]
    start = prefix + tuple(part.strip() for part in head.split("::") if part.strip())
    depth, begin = 0, 0
    for place, character in enumerate(inner + ","):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            if inner[begin:place].strip():
                yield from trees(inner[begin:place], start)
            begin = place + 1


def module_of(file, root):
    parts = list(file.relative_to(root).with_suffix("").parts)
    if parts[-1] in ("mod", "lib", "main"):
        parts.pop()
    return tuple(parts)


def resolve(path, module, modules):
    """The module that a path is in, if it is one of this crate."""
    parts = list(path)
    if parts[0] == "crate":
        here, parts = (), parts[1:]
    elif parts[0] in ("self", "super"):
        here = module
        if parts[0] == "self":
            parts = parts[1:]
        while parts and parts[0] == "super":
            here, parts = here[:-1], parts[1:]
    elif module + (parts[0],) in modules:
        here = module
    else:
        return None
    for part in parts:
        if here + (part,) not in modules:
            break
        here = here + (part,)
    return here


def imports(root):
    files = {module_of(file, root): file for file in sorted(root.rglob("*.rs"))}
    texts, tests = {}, set()
    for module, file in files.items():
        texts[module], names = untested(stripped(file.read_text()))
        tests |= {module + (name,) for name in names}
    is_test = lambda module: any(module[: len(test)] == test for test in tests)
    files = {module: file for module, file in files.items() if not is_test(module)}
    graph = {}
    for module in files:
        text = texts[module]
        found = set()
        for use in re.finditer(r"\buse\s+([^;]+);", text):
            for path in trees(use[1]):
                found.add(resolve(path, module, files))
        code = re.sub(r"\buse\s+[^;]+;", "", text)
        for path in re.finditer(r"(?<![\w:.])[a-z_]\w*(?:::\w+)+", code):
            found.add(resolve(tuple(path[0].split("::")), module, files))
        graph[module] = {other for other in found if other is not None and other != module and other in files}
    return {str(files[module].relative_to(root)): {str(files[other].relative_to(root)) for other in others}
            for module, others in graph.items()}


def components(graph):
    """Tarjan's strongly connected components, without recursion."""
    number, low, on, stack, found = {}, {}, set(), [], []
    for root in sorted(graph):
        if root in number:
            continue
        work = [(root, iter(sorted(graph[root])))]
        number[root] = low[root] = len(number)
        stack.append(root)
        on.add(root)
        while work:
            node, rest = work[-1]
            for other in rest:
                if other not in number:
                    number[other] = low[other] = len(number)
                    stack.append(other)
                    on.add(other)
                    work.append((other, iter(sorted(graph[other]))))
                    break
                if other in on:
                    low[node] = min(low[node], number[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == number[node]:
                    circle = []
                    while True:
                        circle.append(stack.pop())
                        on.discard(circle[-1])
                        if circle[-1] == node:
                            break
                    found.append(sorted(circle))
    return sorted((circle for circle in found if len(circle) > 1), key=lambda circle: (-len(circle), circle))


def main():
    arguments = sys.argv[1:]
    limit = int(arguments[arguments.index("--limit") + 1]) if "--limit" in arguments else 1
    root = Path(arguments[0])
    graph = imports(root)
    circles = [circle for circle in components(graph) if len(circle) > limit]
    for circle in circles:
        print(f"{len(circle)} files: {' '.join(circle)}")
        if "--edges" in arguments:
            for file in circle:
                print(f"    {file} -> {' '.join(sorted(graph[file] & set(circle)))}")
    print(f"{len(graph)} files, {len(circles)} circles of more than {limit}")
    sys.exit(1 if circles and "--limit" in arguments else 0)


main()
