//! Paths that lists name.

/// The path with `/` between its parts, if it leads to something inside the folder that it starts from. `..` is never
/// followed, not even back in: a list from elsewhere must not reach files that nobody meant.
pub(crate) fn inside(path: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return None,
            part => parts.push(part),
        }
    }
    (!path.starts_with('/') && !path.contains('\0') && !parts.is_empty()).then(|| parts.join("/"))
}
