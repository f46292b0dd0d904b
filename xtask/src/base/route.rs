//! The way to a file through symbolic links. A guest that has the file but not each link on
//! the way cannot open it by the name that the user gave.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The symbolic links on the way, in their order; the directories of each are real.
    pub links: Vec<PathBuf>,
    /// The end, without a link in it.
    pub end: PathBuf,
}

/// How many links Linux follows in one path (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// The way to an absolute path on this host; `None` if its links lead in a circle.
pub fn route(path: &Path) -> Option<Route> {
    route_by(path, |link| std::fs::read_link(link).ok())
}

/// Where an absolute path leads in a system whose root is this directory of the host.
pub fn route_in(root: &Path, path: &Path) -> Option<PathBuf> {
    let route = route_by(path, |link| std::fs::read_link(below(root, link)).ok());
    route.map(|route| route.end)
}

/// The host's path for a path of such a system whose links are followed already.
pub fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The same as [`route`], where `read_link` says what a symbolic link contains.
fn route_by(path: &Path, read_link: impl Fn(&Path) -> Option<PathBuf>) -> Option<Route> {
    let mut ahead = steps(path).collect::<Vec<_>>();
    let mut links = Vec::new();
    let mut end = PathBuf::from("/");
    while let Some(step) = ahead.pop() {
        if step == ".." {
            end.pop();
            continue;
        }
        // `/` leads back to the root.
        end.push(step);
        if let Some(target) = read_link(&end) {
            links.push(end.clone());
            if links.len() > MAX_LINKS {
                return None;
            }
            end.pop();
            ahead.extend(steps(&target));
        }
    }
    Some(Route { links, end })
}

/// The components of a path, the last one first.
fn steps(path: &Path) -> impl Iterator<Item = OsString> {
    let parts = path.components().rev();
    let parts = parts.filter(|part| *part != Component::CurDir);
    parts.map(|part| part.as_os_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_link_on_the_way_is_named_by_its_real_place() {
        let links = [
            ("/srv/link", "/tmp/real"),
            ("/tmp/real/out", "../../srv/other"),
            ("/srv/two", "link"),
            ("/var/run", "/run"),
            ("/circle", "circle"),
        ];
        let way = |path: &str| {
            let route = route_by(Path::new(path), |link| {
                let found = links.iter().find(|(name, _)| Path::new(name) == link);
                found.map(|(_, target)| PathBuf::from(target))
            });
            route.map(|route| {
                let links = route.links.iter().map(|link| link.display().to_string());
                let links = links.collect::<Vec<_>>().join(" ");
                format!("{links} > {}", route.end.display())
            })
        };
        for (path, expected) in [
            ("/a/b", " > /a/b"),
            ("/a/./b//c/", " > /a/b/c"),
            ("/srv/link/tests", "/srv/link > /tmp/real/tests"),
            ("/srv/two/x", "/srv/two /srv/link > /tmp/real/x"),
            // As the kernel has it: of where the link leads, not of where it lies.
            ("/srv/link/../x", "/srv/link > /tmp/x"),
            ("/srv/link/out", "/srv/link /tmp/real/out > /srv/other"),
            ("/var/run/user/1", "/var/run > /run/user/1"),
            ("/../..", " > /"),
        ] {
            assert_eq!(way(path).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(way("/circle/x"), None);
    }
}
