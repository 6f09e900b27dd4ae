//! The page's files, built by `build.rs` out of `app` and kept in the binary. Where npm was not there when the program
//! was built there are none, and a page without scripts says so.

/// A file of the page.
#[derive(Debug)]
pub struct File {
    /// `index.html`, or below `assets/`.
    pub path: &'static str,
    /// Its media type.
    pub media_type: &'static str,
    /// How long a browser may keep it.
    pub keep: Keep,
    /// What is in it.
    pub bytes: &'static [u8],
}

/// How long a browser may keep a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// It asks each time whether the file has changed.
    Ask,
    /// The name holds a hash of the content: another content has another name.
    Forever,
}

mod built {
    //! Written by `build.rs`.

    use super::File;

    include!(concat!(env!("OUT_DIR"), "/page.rs"));
}

/// What is shown where the page was not built, with the reason.
pub use built::NOT_BUILT;

/// The file of that path.
#[must_use]
pub fn file(path: &str) -> Option<&'static File> {
    built::FILES.iter().find(|file| file.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_loads_nothing_from_elsewhere_and_holds_no_inline_script() {
        let Some(index) = file("index.html") else {
            assert!(built::FILES.is_empty() && NOT_BUILT.contains("npm"), "{NOT_BUILT}");
            return;
        };
        let text = std::str::from_utf8(index.bytes).unwrap();
        assert!(!text.contains("//") && !text.contains("style="), "{text}");
        for script in text.split("<script").skip(1) {
            let (tag, rest) = script.split_once('>').unwrap();
            assert!(tag.contains("src=\"/assets/") && rest.trim_start().starts_with("</script>"), "{script}");
        }
        for reference in text.split("=\"/").skip(1) {
            let path = reference.split('"').next().unwrap();
            let found = file(path).unwrap_or_else(|| panic!("{path} is not there"));
            assert_eq!(found.keep, Keep::Forever, "{path}");
        }
    }
}
