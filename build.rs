//! Builds the page: `src/shell/page/app` through npm into files that the binary holds.
//!
//! Without npm, or without what npm should bring, the program is built all the same and its page says what is missing.
//! The sources are copied first, so that nothing is ever written beside them, and packages are fetched anew only where
//! the lock file has changed.

use std::error::Error;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// The page's sources.
const APP: &str = "src/shell/page/app";
/// What is copied of them and watched; tests and tools are not needed for a build.
const SOURCES: [&str; 6] =
    ["package.json", "package-lock.json", "build.mjs", "index.html", "style.css", "icon.svg"];

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={APP}/src");
    for name in SOURCES {
        println!("cargo:rerun-if-changed={APP}/{name}");
    }
    println!("cargo:rerun-if-env-changed=SEGUE_PAGE");
    if env::var_os("CARGO_FEATURE_SHELL").is_none() {
        return Ok(());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo names no OUT_DIR")?);
    let built = match env::var("SEGUE_PAGE").as_deref() {
        Ok("off") => Err("SEGUE_PAGE=off was set when it was built".into()),
        _ => build(&out.join("page")),
    };
    if let Err(why) = &built {
        println!(
            "cargo:warning=the page is left out: {}",
            why.to_string().lines().next().unwrap_or_default()
        );
    }
    fs::write(out.join("page.rs"), table(built)?)?;
    Ok(())
}

/// Builds the page in a directory of its own; gives where its files are.
fn build(work: &Path) -> Result<PathBuf, Failure> {
    fs::create_dir_all(work)?;
    let app = Path::new(APP);
    let is_fetched = work.join("fetched");
    let lock = fs::read(app.join("package-lock.json"))?;
    for name in SOURCES {
        fs::copy(app.join(name), work.join(name))?;
    }
    let sources = work.join("src");
    if sources.exists() {
        fs::remove_dir_all(&sources)?;
    }
    copy(&app.join("src"), &sources)?;
    if fs::read(&is_fetched).ok().as_deref() != Some(&lock) {
        // No script of a package is run, and a registry that is not there is found out soon.
        let fetch = [
            "ci",
            "--omit=dev",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
            "--fetch-retries=1",
            "--fetch-timeout=30000",
        ];
        // What is there now goes with the first step of it.
        match fs::remove_file(&is_fetched) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let cache = format!("--cache={}", work.join("cache").display());
        let own_cache = (!has_home()).then_some(&*cache);
        run("npm", &fetch.into_iter().chain(own_cache).collect::<Vec<_>>(), work)?;
        fs::write(&is_fetched, &lock)?;
    }
    run("node", &["build.mjs"], work)?;
    Ok(work.join("dist"))
}

/// Has the next build try again once a program has come into one of the directories of PATH.
fn watch_path() {
    println!("cargo:rerun-if-env-changed=PATH");
    let path = env::var_os("PATH").unwrap_or_default();
    for directory in env::split_paths(&path).filter(|directory| directory.is_absolute() && directory.is_dir())
    {
        println!("cargo:rerun-if-changed={}", directory.display());
    }
}

/// Whether npm has a place for its cache; builders in a cage often have none.
fn has_home() -> bool {
    env::var_os("HOME").is_some_and(|home| {
        fs::metadata(home).is_ok_and(|home| home.is_dir() && !home.permissions().readonly())
    })
}

fn run(program: &str, arguments: &[&str], work: &Path) -> Result<(), Failure> {
    let output =
        Command::new(program).args(arguments).current_dir(work).output().map_err(|error| {
            match error.kind() {
                io::ErrorKind::NotFound => {
                    watch_path();
                    format!("{program} was not found when it was built")
                }
                _ => format!("{program}: {error}"),
            }
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
    Err(format!("{program} {} failed when it was built: {said}", arguments.first().unwrap_or(&"")).into())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The table that `src/shell/page/mod.rs` includes.
fn table(built: Result<PathBuf, Failure>) -> Result<String, Failure> {
    let mut text = String::from("/// The files of the page.\npub(super) static FILES: &[File] = &[\n");
    if let Ok(dist) = &built {
        let assets = fs::read_dir(dist.join("assets"))?;
        let mut paths: Vec<PathBuf> =
            assets.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
        paths.push(dist.join("index.html"));
        paths.sort();
        for path in paths {
            let name = path.strip_prefix(dist)?.to_str().ok_or("a file name is no text")?.to_owned();
            let media_type = media_type(&path).ok_or_else(|| format!("{name}: of what media type?"))?;
            let keep = if name == "index.html" { "Ask" } else { "Forever" };
            writeln!(
                text,
                "    File {{ path: {name:?}, media_type: {media_type:?}, keep: super::Keep::{keep}, bytes: include_bytes!({path:?}) }},"
            )?;
        }
    }
    let why = built.err().map(|why| why.to_string()).unwrap_or_default();
    let why = why.replace('&', "&amp;").replace('<', "&lt;");
    let not_built = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>segue</title>\
         <h1>This segue was built without its page</h1><p>{why}.</p>\
         <p>With Node.js 18 or later and npm, <code>touch build.rs &amp;&amp; cargo build</code> puts it in. \
         Calls, moves, the API under <a href=\"/v1/openapi.json\">/v1</a> and the command line work without it.</p>"
    );
    writeln!(
        text,
        "];\n\n/// What is shown where the page was not built.\npub const NOT_BUILT: &str = {not_built:?};"
    )?;
    Ok(text)
}

fn media_type(path: &Path) -> Option<&'static str> {
    Some(match path.extension().and_then(OsStr::to_str)? {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        _ => return None,
    })
}
