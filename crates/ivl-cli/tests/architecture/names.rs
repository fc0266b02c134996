//! Names: of types that the libraries make public, and of what pages point to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::{self, Visit};
use syn::{ImplItem, Item, TraitItem, Visibility};

use crate::modules::{attributes, defined, is_for_tests};
use crate::workspace::{read, repository, shown, source_folders, sources};

/// The definitions in a crate's source.
#[derive(Debug, Default)]
struct Definitions {
    /// Public types, with the files that define them.
    types: BTreeMap<String, BTreeSet<String>>,
    /// Functions of types and traits, as `Type::function`.
    methods: BTreeSet<String>,
    /// Functions of modules, as `module::function`, by file or folder and by crate.
    functions: BTreeSet<String>,
}

impl Definitions {
    fn of_libraries() -> Self {
        let mut all = Self::default();
        for (crate_name, src) in source_folders().into_iter().filter(|(name, _)| name != "ivl-cli") {
            for file in crate::workspace::files(&src, "rs") {
                let items = syn::parse_file(&read(&file)).expect("Rust").items;
                all.add(&crate_name.replace('-', "_"), &file, &items);
            }
        }
        all
    }

    fn add(&mut self, crate_name: &str, file: &Path, items: &[Item]) {
        for item in items.iter().filter(|item| !attributes(item).iter().any(is_for_tests)) {
            match item {
                Item::Mod(module) => {
                    let items = module.content.as_ref().map(|(_, items)| items.as_slice());
                    self.add(crate_name, file, items.unwrap_or_default());
                }
                Item::Fn(function) => {
                    let name = function.sig.ident.to_string();
                    self.functions.insert(format!("{}::{name}", module_name(file)));
                    self.functions.insert(format!("{crate_name}::{name}"));
                }
                Item::Impl(item) => self.add_methods(item),
                Item::Trait(item) => {
                    let functions = item.items.iter().filter_map(|inner| match inner {
                        TraitItem::Fn(function) => Some(format!("{}::{}", item.ident, function.sig.ident)),
                        _ => None,
                    });
                    self.methods.extend(functions);
                }
                _ => (),
            }
            if let Some(name) = defined(item).filter(|_| is_public_type(item)) {
                self.types.entry(name).or_default().insert(shown(file));
            }
        }
    }

    fn add_methods(&mut self, item: &syn::ItemImpl) {
        let syn::Type::Path(path) = &*item.self_ty else { return };
        let Some(name) = path.path.segments.last() else { return };
        for inner in &item.items {
            if let ImplItem::Fn(function) = inner {
                self.methods.insert(format!("{}::{}", name.ident, function.sig.ident));
            }
        }
    }

    /// Whether `Type::function` or `module::function` or `function` is there.
    fn have(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split("::").collect();
        let wanted = parts[parts.len().saturating_sub(2)..].join("::");
        match parts.len() {
            1 => self.functions.iter().any(|function| function.rsplit("::").next() == Some(path)),
            _ => self.methods.contains(&wanted) || self.functions.contains(&wanted),
        }
    }
}

/// The name of a file's module.
fn module_name(file: &Path) -> String {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let folder = file.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
    if stem == "mod" { folder.to_owned() } else { stem.to_owned() }
}

fn is_public_type(item: &Item) -> bool {
    let visibility = match item {
        Item::Enum(item) => &item.vis,
        Item::Struct(item) => &item.vis,
        Item::Trait(item) => &item.vis,
        Item::Type(item) => &item.vis,
        Item::Union(item) => &item.vis,
        _ => return false,
    };
    matches!(visibility, Visibility::Public(_))
}

#[test]
fn no_public_type_is_defined_twice() {
    let definitions = Definitions::of_libraries();
    assert!(definitions.types.len() > 100, "{}", definitions.types.len());
    // Each crate has one `Error`.
    let twice: Vec<_> =
        definitions.types.iter().filter(|(name, files)| files.len() > 1 && *name != "Error").collect();
    assert!(twice.is_empty(), "{twice:#?}");
}

#[test]
fn functions_that_pages_name_exist() {
    let definitions = Definitions::of_libraries();
    let pages = crate::workspace::files(&repository().join("docs"), "md").into_iter();
    // Decisions tell what was when they were made.
    let pages = pages.filter(|page| !page.parent().is_some_and(|folder| folder.ends_with("decisions")));
    let mut named = 0;
    let mut missing = Vec::new();
    for page in
        pages.chain(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|page| repository().join(page)))
    {
        let spans = code_spans(&read(&page));
        for path in
            spans.iter().filter_map(|code| code.strip_suffix("()")).filter(|path| !path.ends_with('!'))
        {
            named += 1;
            if !definitions.have(path) {
                missing.push(format!("{}: `{path}()`", shown(&page)));
            }
        }
    }
    assert!(missing.is_empty(), "not there: {missing:#?}");
    assert!(named >= 20, "{named}");
}

/// The text between backticks, outside of code blocks.
fn code_spans(page: &str) -> Vec<String> {
    let mut in_block = false;
    let lines = page.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        in_block ^= fence;
        !fence && !in_block
    });
    let text: Vec<&str> = lines.collect();
    text.join("\n").split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect()
}

#[test]
fn there_are_no_backend_generics() {
    for file in sources() {
        assert!(!is_generic_over_backends(&read(&file)), "{} is generic over a backend", shown(&file));
    }
}

/// Whether something is bounded by a trait `Backend`, as in `B: Backend`, `impl Backend` or `dyn Backend`.
fn is_generic_over_backends(code: &str) -> bool {
    let mut bounds = Bounds { backend: false };
    bounds.visit_file(&syn::parse_file(code).expect("Rust"));
    bounds.backend
}

struct Bounds {
    backend: bool,
}

impl<'ast> Visit<'ast> for Bounds {
    fn visit_trait_bound(&mut self, bound: &'ast syn::TraitBound) {
        self.backend |= bound.path.segments.last().is_some_and(|name| name.ident == "Backend");
        visit::visit_trait_bound(self, bound);
    }
}

#[test]
fn backend_generics_are_found_however_they_are_written() {
    for code in [
        "fn f<B: Backend>() {}",
        "fn f<B: Backend, C>() {}",
        "fn f(b: impl Backend) {}",
        "fn f(b: &dyn Backend) {}",
        "fn f<B>() where B: Copy + Backend {}",
        "struct S<B: burn::tensor::backend::Backend>(B);",
        "impl<B> S<B> where B: burn::Backend {}",
    ] {
        assert!(is_generic_over_backends(code), "{code}");
    }
    assert!(!is_generic_over_backends("enum By { Backend, Kernels } fn f() -> By { By::Backend }"));
}
