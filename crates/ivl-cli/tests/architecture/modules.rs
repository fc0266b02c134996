//! The modules of a crate, and which of them names what another one defines.
//!
//! A module is a file. Modules within braces belong to their file; modules and items for tests are left out.
//!
//! A file *uses* another one if it imports a name from it or writes a path to it, where the name is followed through
//! re-exports to the file that defines it. To declare a module (`mod a;`) or to re-export its names (`pub use a::A;`) is
//! no use: a facade may name its parts. A parent that works with what a child defines uses the child, and a child that
//! works with what its parent defines uses the parent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, File, Item, UseTree};

use crate::workspace::read;

/// A crate's modules.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    modules: Vec<Module>,
    files: Vec<PathBuf>,
}

#[derive(Debug, Default)]
struct Module {
    file: usize,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    /// Names of items that are defined here.
    defined: BTreeSet<String>,
    /// Names that `use` brings in, with what they stand for.
    imported: BTreeMap<String, Vec<String>>,
    /// Modules of which all names are brought in.
    globs: Vec<Vec<String>>,
    /// Paths that count as used: imports that are not re-exported, and what the items write.
    written: BTreeSet<Vec<String>>,
}

impl Modules {
    /// Reads a crate from its root file.
    pub(crate) fn read(root: &Path) -> Self {
        let mut modules = Self::default();
        let dir = root.parent().expect("a folder").to_owned();
        modules.add_file(root, &dir, None);
        modules
    }

    /// The names of the files, below the root's folder.
    pub(crate) fn name(&self, file: usize) -> String {
        let root = self.files[0].parent().expect("a folder");
        self.files[file].strip_prefix(root).expect("below the root").display().to_string()
    }

    fn add_file(&mut self, path: &Path, children: &Path, parent: Option<usize>) -> usize {
        let file = self.files.len();
        self.files.push(path.to_owned());
        let parsed: File =
            syn::parse_file(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self.add_module(file, children, parent, &parsed.items)
    }

    fn add_module(&mut self, file: usize, dir: &Path, parent: Option<usize>, items: &[Item]) -> usize {
        let index = self.modules.len();
        self.modules.push(Module { file, parent, ..Module::default() });
        for item in items.iter().filter(|item| !attributes(item).iter().any(is_for_tests)) {
            if let Item::Mod(module) = item {
                let name = module.ident.to_string();
                let below = dir.join(&name);
                let child = if let Some((_, items)) = &module.content {
                    self.add_module(file, &below, Some(index), items)
                } else {
                    let flat = dir.join(format!("{name}.rs"));
                    let path = if flat.exists() { flat } else { below.join("mod.rs") };
                    self.add_file(&path, &below, Some(index))
                };
                self.modules[index].children.insert(name, child);
            } else {
                self.modules[index].add_item(item);
            }
        }
        index
    }

    /// For every file, the files that it uses.
    pub(crate) fn uses(&self) -> Vec<BTreeSet<usize>> {
        let mut uses = vec![BTreeSet::new(); self.files.len()];
        for (index, module) in self.modules.iter().enumerate() {
            for path in &module.written {
                if !module.is_variable(path)
                    && let Some(used) = self.file_of(index, path)
                    && used != module.file
                {
                    uses[module.file].insert(used);
                }
            }
        }
        uses
    }

    /// The file that defines what a path stands for; none for other crates and for names that are no items.
    fn file_of(&self, from: usize, path: &[String]) -> Option<usize> {
        self.definition(from, path, 0).map(|module| self.modules[module].file)
    }

    fn definition(&self, from: usize, path: &[String], depth: usize) -> Option<usize> {
        // Names that import each other in a circle end here.
        if depth > 32 {
            return None;
        }
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.within(0, rest, depth),
            "self" => self.within(from, rest, depth),
            "super" => self.within(self.modules[from].parent?, rest, depth),
            _ => self.named(from, path, depth),
        }
    }

    /// The meaning of a path that starts in a module.
    fn within(&self, module: usize, path: &[String], depth: usize) -> Option<usize> {
        let Some(first) = path.first() else { return Some(module) };
        if first == "super" {
            return self.within(self.modules[module].parent?, &path[1..], depth);
        }
        // Names that macros define are not seen: they count as the module's own.
        self.named(module, path, depth).or(Some(module))
    }

    /// The meaning of a name in a module, with the rest of its path.
    fn named(&self, module: usize, path: &[String], depth: usize) -> Option<usize> {
        let (first, rest) = path.split_first()?;
        let here = &self.modules[module];
        if let Some(&child) = here.children.get(first) {
            return self.within(child, rest, depth);
        }
        if here.defined.contains(first) {
            return Some(module);
        }
        if let Some(meant) = here.imported.get(first) {
            let path = [meant.as_slice(), rest].concat();
            // `use rand::rand` and the like stand for another crate.
            return if meant.first() == Some(first) {
                None
            } else {
                self.definition(module, &path, depth + 1)
            };
        }
        here.globs.iter().find_map(|glob| {
            let glob = self.definition(module, glob, depth + 1)?;
            self.named(glob, path, depth + 1)
        })
    }
}

impl Module {
    /// Whether a path is a single name that only a child has. No expression is a module: it is a variable's name.
    fn is_variable(&self, path: &[String]) -> bool {
        matches!(path, [name] if self.children.contains_key(name) && !self.imported.contains_key(name))
    }

    fn add_item(&mut self, item: &Item) {
        match item {
            Item::Use(item) => {
                let mut names = Vec::new();
                flatten(&item.tree, &mut Vec::new(), &mut names);
                let is_private = matches!(item.vis, syn::Visibility::Inherited);
                for (name, path) in names {
                    if is_private {
                        self.written.insert(path.clone());
                    }
                    match name {
                        Some(name) => drop(self.imported.insert(name, path)),
                        None => self.globs.push(path),
                    }
                }
                return;
            }
            Item::Macro(item) => self.defined.extend(item.ident.as_ref().map(ToString::to_string)),
            _ => self.defined.extend(defined(item)),
        }
        Written(&mut self.written).visit_item(item);
    }
}

/// The name that an item defines in its module.
pub(crate) fn defined(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// The names that a `use` brings in, with their paths; no name for all of a module.
fn flatten(tree: &UseTree, before: &mut Vec<String>, found: &mut Vec<(Option<String>, Vec<String>)>) {
    let path = |before: &[String], ident: &syn::Ident| match ident == "self" {
        true => before.to_vec(),
        false => [before, &[ident.to_string()]].concat(),
    };
    match tree {
        UseTree::Path(tree) => {
            before.push(tree.ident.to_string());
            flatten(&tree.tree, before, found);
            before.pop();
        }
        UseTree::Name(tree) => {
            let path = path(before, &tree.ident);
            found.push((path.last().cloned(), path));
        }
        UseTree::Rename(tree) => found.push((Some(tree.rename.to_string()), path(before, &tree.ident))),
        UseTree::Glob(_) => found.push((None, before.clone())),
        UseTree::Group(tree) => tree.items.iter().for_each(|tree| flatten(tree, before, found)),
    }
}

/// Collects the paths that items write, in macros too.
struct Written<'a>(&'a mut BTreeSet<Vec<String>>);

impl<'ast> Visit<'ast> for Written<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0.insert(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    /// `pub(crate)` and `pub(super)` are no uses.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut names = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut names);
        self.0.extend(names.into_iter().map(|(_, path)| path));
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        self.visit_path(&invocation.path);
        paths(invocation.tokens.clone(), self.0);
    }
}

/// The paths among tokens: names with `::` between them.
fn paths(tokens: TokenStream, found: &mut BTreeSet<Vec<String>>) {
    let mut path: Vec<String> = Vec::new();
    let mut colons = 0;
    for token in tokens {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => colons += 1,
            TokenTree::Ident(ident) => {
                if colons != 2 {
                    found.insert(std::mem::take(&mut path));
                }
                path.push(ident.to_string());
                colons = 0;
            }
            other => {
                found.insert(std::mem::take(&mut path));
                colons = 0;
                if let TokenTree::Group(group) = other {
                    paths(group.stream(), found);
                }
            }
        }
    }
    found.insert(path);
    found.remove(&Vec::new());
}

pub(crate) fn is_for_tests(attribute: &Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else { return false };
    let names_tests = |token: TokenTree| matches!(&token, TokenTree::Ident(ident) if ident == "test");
    list.path.is_ident("cfg") && list.tokens.clone().into_iter().any(names_tests)
}

/// The attributes of an item.
pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
