//! The arrangement of `src/`: imports run one way, `sys` stands below everything, files and functions stay short.
//!
//! A module's `mod child;` line is no import. A name is followed through `pub use` to the file that defines it, so a `mod.rs` that
//! only declares and re-exports its children is part of no circle. What stands under `#[cfg(test)]` is left out.

use proc_macro2::{TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, UseTree};

const LONGEST_FILE: usize = 600;
const LONGEST_FUNCTION: usize = 60;

// What breaks a rule today. An entry that is no longer needed fails the test, so that the lists only shrink.
const IN_CIRCLES: &[&str] = &[];
const IMPORTED_BY_SYS: &[&str] = &[];
const UPWARD: &[&str] = &[];
const LONG_FILES: &[&str] = &[];
const LONG_FUNCTIONS: &[&str] = &[];

/// The layers of the library, from above. What is not named stands between `table` and `sys`.
const LAYERS: &[&[&str]] =
    &[&["lib.rs"], &["capi"], &["calls"], &["threads", "libaio"], &["dispatch"], &["engine.rs"], &["table"]];

fn layer(file: &Path) -> usize {
    let name = file.iter().nth(1).map_or("", |name| name.to_str().unwrap_or(""));
    let named = LAYERS.iter().position(|layer| layer.contains(&name));
    named.unwrap_or(if name == "sys" { LAYERS.len() + 1 } else { LAYERS.len() })
}

static LIBRARY: LazyLock<Modules> = LazyLock::new(|| load("src/lib.rs"));
static COMMAND: LazyLock<Modules> = LazyLock::new(|| load("src/bin/aio-rs/main.rs"));

/// The names from the crate's root down, without `crate`.
type Names = Vec<String>;

#[derive(Default)]
struct Module {
    file: PathBuf,
    lines: usize,
    /// What it names of its crate, and in which line.
    imports: Vec<(Names, usize)>,
    /// By which name, or all names (`None`), it re-exports what.
    exports: Vec<(Option<String>, Names)>,
    items: BTreeSet<String>,
    functions: Vec<(String, usize)>,
    /// The children that are files, and their `#[path]`.
    children: Vec<(String, Option<String>)>,
}

type Modules = BTreeMap<Names, Module>;

/// Reads one file. `here` is the module that it visits: the file's, or one that is written out in it.
struct Reader {
    file: Names,
    here: Names,
    module: Module,
}

impl Module {
    fn parse(names: &[String], file: &Path, text: &str) -> Module {
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let module = Module { file: file.into(), lines: text.lines().count(), ..Module::default() };
        let mut reader = Reader { file: names.into(), here: names.into(), module };
        reader.module.items = parsed.items.iter().filter_map(name_of).collect();
        reader.visit_file(&parsed);
        reader.module
    }
}

impl Reader {
    /// A path from the root, if it leads into this crate.
    fn absolute(&self, path: &[String]) -> Option<Names> {
        let (first, rest) = path.split_first()?;
        let (start, rest) = match first.as_str() {
            "crate" => (vec![], rest),
            "self" => (self.here.clone(), rest),
            "super" => {
                let count = path.iter().take_while(|name| *name == "super").count();
                (self.here[..self.here.len().saturating_sub(count)].to_vec(), &path[count..])
            }
            _ if self.here == self.file && self.module.children.iter().any(|(child, _)| child == first) => {
                (self.here.clone(), path)
            }
            _ => return None,
        };
        Some([start, rest.to_vec()].concat())
    }

    fn import(&mut self, path: &[String], line: usize) {
        // One name is a variable, `self`, or the `super` of `pub(super)`.
        if path.len() > 1
            && let Some(names) = self.absolute(path)
        {
            self.module.imports.push((names, line));
        }
    }

    fn use_tree(&mut self, tree: &UseTree, prefix: &[String], exported: bool) {
        let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        let (path, name, line) = match tree {
            UseTree::Path(path) => return self.use_tree(&path.tree, &with(&path.ident), exported),
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.use_tree(tree, prefix, exported));
            }
            UseTree::Glob(glob) => (prefix.to_vec(), None, glob.span()),
            UseTree::Name(name) if name.ident == "self" => (prefix.to_vec(), prefix.last().cloned(), name.ident.span()),
            UseTree::Name(name) => (with(&name.ident), Some(name.ident.to_string()), name.ident.span()),
            UseTree::Rename(both) => (with(&both.ident), Some(both.rename.to_string()), both.ident.span()),
        };
        let Some(names) = self.absolute(&path) else { return };
        if exported {
            self.module.exports.push((name, names.clone()));
        }
        self.module.imports.push((names, line.start().line));
    }

    fn function(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let lines = body.span().end().line + 1 - signature.span().start().line;
        self.module.functions.push((signature.ident.to_string(), lines));
    }

    /// Macros are read as tokens: whatever looks like a path.
    fn tokens(&mut self, tokens: TokenStream) {
        let (mut path, mut line, mut colons) = (vec![], 0, 0);
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Ident(ident) if colons == 2 && !path.is_empty() => {
                    path.push(ident.to_string());
                    colons = 0;
                }
                token => {
                    self.import(&std::mem::take(&mut path), line);
                    (colons, line) = (0, token.span().start().line);
                    match token {
                        TokenTree::Ident(ident) => path.push(ident.to_string()),
                        TokenTree::Group(group) => self.tokens(group.stream()),
                        _ => {}
                    }
                }
            }
        }
        self.import(&path, line);
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_of_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if let ImplItem::Fn(function) = item {
            if is_of_tests(&function.attrs) {
                return;
            }
            self.function(&function.sig, &function.block);
        }
        visit::visit_impl_item(self, item);
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.function(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.content.is_some() {
            self.here.push(module.ident.to_string());
            visit::visit_item_mod(self, module);
            self.here.pop();
        } else {
            let path = module.attrs.iter().find(|attribute| attribute.path().is_ident("path"));
            self.module.children.push((module.ident.to_string(), path.and_then(text_of)));
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let exported = !matches!(item.vis, syn::Visibility::Inherited) && self.here == self.file;
        if item.leading_colon.is_none() {
            self.use_tree(&item.tree, &[], exported);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.import(&names, path.span().start().line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
}

fn name_of(item: &Item) -> Option<String> {
    Some(match item {
        Item::Const(item) => item.ident.to_string(),
        Item::Enum(item) => item.ident.to_string(),
        Item::Fn(item) => item.sig.ident.to_string(),
        Item::Static(item) => item.ident.to_string(),
        Item::Struct(item) => item.ident.to_string(),
        Item::Trait(item) => item.ident.to_string(),
        Item::Type(item) => item.ident.to_string(),
        Item::Union(item) => item.ident.to_string(),
        _ => return None,
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn is_of_tests(attributes: &[Attribute]) -> bool {
    fn names_test(tokens: TokenStream) -> bool {
        let mut negated = false;
        tokens.into_iter().any(|token| match token {
            TokenTree::Ident(ident) => {
                negated = ident == "not";
                ident == "test"
            }
            TokenTree::Group(group) => !negated && names_test(group.stream()),
            _ => false,
        })
    }
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
        .any(|attribute| attribute.meta.require_list().is_ok_and(|condition| names_test(condition.tokens.clone())))
}

/// The text of `#[path = "text"]`.
fn text_of(attribute: &Attribute) -> Option<String> {
    match &attribute.meta.require_name_value().ok()?.value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

/// A crate, from its root on: each file that a `mod` line names.
fn load(root: &str) -> Modules {
    let mut modules = Modules::new();
    let mut open = vec![(Names::new(), PathBuf::from(root))];
    while let Some((names, file)) = open.pop() {
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let module = Module::parse(&names, &file, &text);
        let parent = file.parent().unwrap();
        let has_own_directory = names.is_empty() || file.ends_with("mod.rs");
        let directory = if has_own_directory { parent.to_owned() } else { file.with_extension("") };
        for (child, path) in &module.children {
            let candidates = match path {
                Some(path) => vec![parent.join(path)],
                None => vec![directory.join(format!("{child}.rs")), directory.join(child).join("mod.rs")],
            };
            let found = candidates.into_iter().find(|file| file.exists());
            open.push(([&names[..], std::slice::from_ref(child)].concat(), found.expect(child)));
        }
        modules.insert(names, module);
    }
    modules
}

/// The modules whose files define what `path` names: of a name that two targets define apart, both.
fn definers(modules: &Modules, path: &[String]) -> BTreeSet<Names> {
    let depth = (0..=path.len()).rev().find(|depth| modules.contains_key(&path[..*depth])).unwrap();
    let (at, rest) = path.split_at(depth);
    let Some((name, more)) = rest.split_first() else { return [at.to_vec()].into() };
    let exports = modules[at].exports.iter().filter_map(|(exported, from)| match exported {
        Some(exported) => (exported == name).then(|| [from, more].concat()),
        None => has(modules, from, name).then(|| [from, rest].concat()),
    });
    let found: BTreeSet<_> = exports.flat_map(|path| definers(modules, &path)).collect();
    if found.is_empty() { [at.to_vec()].into() } else { found }
}

fn has(modules: &Modules, at: &[String], name: &str) -> bool {
    modules.contains_key(&[at, &[name.to_owned()]].concat())
        || modules.get(at).is_some_and(|module| {
            module.items.contains(name) || module.exports.iter().any(|(exported, _)| exported.as_deref() == Some(name))
        })
}

/// For each file the files that it imports, and the first line that does.
fn graph(modules: &Modules) -> BTreeMap<&Path, BTreeMap<&Path, usize>> {
    let targets = |names: &Names, module: &Module| {
        let mut targets = BTreeMap::new();
        for (path, line) in &module.imports {
            for target in definers(modules, path).iter().filter(|target| *target != names) {
                targets.entry(modules[target].file.as_path()).or_insert(*line);
            }
        }
        targets
    };
    modules.iter().map(|(names, module)| (module.file.as_path(), targets(names, module))).collect()
}

/// What a file imports, and what that imports, and so on.
fn reached<'a>(graph: &BTreeMap<&'a Path, BTreeMap<&'a Path, usize>>, from: &'a Path) -> BTreeSet<&'a Path> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(file) = open.pop() {
        open.extend(graph[file].keys().filter(|target| seen.insert(**target)));
    }
    seen
}

/// The files of each circle, with the imports that make it.
fn circles(modules: &Modules) -> BTreeMap<PathBuf, Vec<String>> {
    let graph = graph(modules);
    let reached: BTreeMap<_, _> = graph.keys().map(|file| (*file, reached(&graph, file))).collect();
    let imports = |file: &Path| {
        let back = graph[file].iter().filter(|(target, _)| reached[**target].contains(file));
        back.map(|(target, line)| format!("line {line} imports {}", target.display())).collect()
    };
    graph
        .keys()
        .filter(|file| reached[**file].contains(**file))
        .map(|file| (file.to_path_buf(), imports(file)))
        .collect()
}

/// Fails unless what was found is what is known. `found`: each offender, and what to say of it.
fn compare(rule: &str, known: &[&str], found: &BTreeMap<String, String>) {
    let new: Vec<_> = found.iter().filter(|(name, _)| !known.contains(&name.as_str())).collect();
    let text: String = new.iter().map(|(name, what)| format!("\n{name}: {what}")).collect();
    assert!(new.is_empty(), "{rule}{text}");
    let gone: Vec<_> = known.iter().filter(|name| !found.contains_key(**name)).collect();
    assert!(gone.is_empty(), "{rule}: kept by these, which the list in {} need not name any more: {gone:?}", file!());
}

fn check_circles(modules: &Modules, known: &[&str]) {
    let found = circles(modules).into_iter();
    let found = found.map(|(file, imports)| (file.display().to_string(), imports.join(", ")));
    compare("no circle of imports", known, &found.collect());
}

#[test]
fn no_circle_in_the_library() {
    check_circles(&LIBRARY, IN_CIRCLES);
}

#[test]
fn no_circle_in_the_command() {
    check_circles(&COMMAND, &[]);
}

#[test]
fn sys_imports_nothing_of_the_project() {
    let mut found = BTreeMap::<_, String>::new();
    for (file, targets) in graph(&LIBRARY).into_iter().filter(|(file, _)| file.starts_with("src/sys")) {
        for (target, line) in targets.into_iter().filter(|(target, _)| !target.starts_with("src/sys")) {
            let places = found.entry(target.display().to_string()).or_default();
            *places += &format!(" {}:{line}", file.display());
        }
    }
    compare("a file that sys imports", IMPORTED_BY_SYS, &found);
}

#[test]
fn a_layer_imports_only_from_those_below() {
    let mut found = BTreeMap::<_, String>::new();
    for (file, targets) in graph(&LIBRARY).into_iter().filter(|(file, _)| !file.starts_with("src/sys")) {
        for (target, line) in targets.into_iter().filter(|(target, _)| layer(target) < layer(file)) {
            let imports = found.entry(file.display().to_string()).or_default();
            *imports += &format!(" line {line} imports {}", target.display());
        }
    }
    compare("no import upwards", UPWARD, &found);
}

#[test]
fn files_and_functions_are_short() {
    let (mut files, mut functions) = (BTreeMap::new(), BTreeMap::new());
    for module in LIBRARY.values().chain(COMMAND.values()) {
        let file = module.file.display().to_string();
        for (name, lines) in module.functions.iter().filter(|(_, lines)| *lines > LONGEST_FUNCTION) {
            functions.insert(format!("{file}: {name}"), format!("{lines} lines"));
        }
        if module.lines > LONGEST_FILE {
            files.insert(file, format!("{} lines", module.lines));
        }
    }
    compare("no long file", LONG_FILES, &files);
    compare("no long function", LONG_FUNCTIONS, &functions);
}

/// A crate of files that are only text; "a::b" stands for src/a/b.rs, "" for the root.
fn crate_of(files: &[(&str, &str)]) -> Modules {
    let module = |(name, text): &(&str, &str)| {
        let names: Names = name.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect();
        (names.clone(), Module::parse(&names, Path::new(name), text))
    };
    files.iter().map(module).collect()
}

fn imports_of(text: &str) -> Vec<String> {
    let modules = crate_of(&[("a::b", text)]);
    modules.values().flat_map(|module| &module.imports).map(|(names, _)| names.join("::")).collect()
}

#[test]
fn imports_are_read() {
    for (text, expected) in [
        ("use crate::{c, d::{e::{F, g}, self}};", "c d::e::F d::e::g d"),
        ("use crate::c::D as E; use super::c; use super::super::d;", "c::D a::c d"),
        ("use self::c::D; mod c; use c::E; fn f() { c::g() }", "a::b::c::D a::b::c::E a::b::c::g"),
        ("use std::c; use ::c::d; use c::d; pub(super) struct S; pub(in crate::a) struct T;", ""),
        ("#[cfg(loom)] use crate::c; #[cfg(not(test))] use crate::d; #[cfg(test)] use crate::e;", "c d"),
        ("#[cfg(test)] mod tests { use crate::c; } #[cfg(all(test, unix))] fn f() { crate::d::e() }", ""),
        ("mod inline { use super::c; use super::super::d; }", "a::b::c a::d"),
        ("// use crate::c;\n/* crate::d */ /// crate::e\nconst F: &str = \"crate::f\";", ""),
        ("fn f(x: &super::c::D) -> crate::e::F { assert!(g(crate::h::I), \"crate::j\"); }", "a::c::D e::F h::I"),
    ] {
        assert_eq!(imports_of(text).join(" "), expected, "{text}");
    }
}

#[test]
fn a_name_is_followed_to_the_file_that_defines_it() {
    let modules = crate_of(&[
        ("", "mod sys; mod c;"),
        ("sys", "mod linux; mod portable; pub use linux::*; pub use portable::*; pub struct Own;"),
        ("sys::linux", "pub mod wait; pub use wait::sleep as pause;"),
        ("sys::portable", "pub mod wait;"),
        ("sys::linux::wait", "pub fn sleep() {}"),
        ("sys::portable::wait", "pub fn sleep() {}"),
        ("c", ""),
    ]);
    for (path, expected) in [
        ("c::Thing", "c"),
        ("Thing", ""),
        ("sys::Own", "sys"),
        ("sys::wait::sleep", "sys::linux::wait sys::portable::wait"),
        ("sys::pause", "sys::linux::wait"),
    ] {
        let path: Names = path.split("::").map(str::to_owned).collect();
        let found: Names = definers(&modules, &path).iter().map(|names| names.join("::")).collect();
        assert_eq!(found.join(" "), expected, "{path:?}");
    }
}

#[test]
fn circles_are_found_and_no_others() {
    let circles_of = |files: &[(&str, &str)]| -> Vec<_> {
        circles(&crate_of(files))
            .into_iter()
            .map(|(file, imports)| format!("{}: {}", file.display(), imports.join(" ")))
            .collect()
    };
    let root = ("", "mod a; mod c;");
    let through_mod_rs = [root, ("a", "mod b; pub use b::B;"), ("a::b", "use crate::c::C;"), ("c", "use crate::a::B;")];
    assert_eq!(circles_of(&through_mod_rs), ["a::b: line 1 imports c", "c: line 1 imports a::b"]);
    let with_its_parent = [root, ("a", "mod b;\nfn f() { b::g() }"), ("a::b", "use super::f;"), ("c", "")];
    assert_eq!(circles_of(&with_its_parent), ["a: line 2 imports a::b", "a::b: line 1 imports a"]);
    let one_way = [root, ("a", "mod b; pub use b::B;"), ("a::b", "use crate::c::C;"), ("c", "fn f() {}")];
    assert_eq!(circles_of(&one_way), [""; 0]);
}

#[test]
fn functions_are_measured() {
    let text = "/// Doc\n/// comment\nfn one() {}\nimpl T {\n    fn three(\n    ) {\n    }\n}\n#[cfg(test)]\nmod tests { fn none() {} }";
    assert_eq!(crate_of(&[("", text)])[&[][..]].functions, [("one".into(), 1), ("three".into(), 3)]);
}

#[test]
#[should_panic(expected = "need not name any more: [\"gone\"]")]
fn a_list_only_shrinks() {
    compare("rule", &["here", "gone"], &[("here".to_owned(), String::new())].into());
}
