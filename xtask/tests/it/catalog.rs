//! What `kernel-configs/kernels.toml` says, read apart from the binary.

use support::host::repository;
use toml::{Table, Value};

fn table() -> Table {
    let file = repository().join("kernel-configs/kernels.toml");
    std::fs::read_to_string(file).unwrap().parse().unwrap()
}

/// The number in the names of our kernels.
pub fn revision() -> i64 {
    table()["revision"].as_integer().unwrap()
}

/// All series; `A to B` is all from A to B of one major version.
pub fn series() -> Vec<String> {
    let table = table();
    let groups = table["series"].as_array().unwrap().iter();
    let groups = groups.map(|group| group.as_str().unwrap());
    let series = groups.flat_map(|group| {
        let (first, last) = group.split_once(" to ").unwrap_or((group, group));
        let split = |series: &str| {
            let (major, minor) = series.split_once('.').unwrap();
            (major.to_owned(), minor.parse::<u32>().unwrap())
        };
        let ((major, first), (_, last)) = (split(first), split(last));
        (first..=last).map(move |minor| format!("{major}.{minor}"))
    });
    series.collect()
}

/// The flavors' names.
pub fn flavors() -> Vec<String> {
    let table = table();
    let flavors = table["flavor"].as_array().unwrap().iter();
    let name = |flavor: &Value| flavor["name"].as_str().unwrap().to_owned();
    flavors.map(name).collect()
}

/// The architectures, with the oldest series of each.
pub fn architectures() -> Vec<(String, String)> {
    let table = table();
    let architectures = table["architecture"].as_array().unwrap().iter();
    let text = |architecture: &Value, key: &str| architecture[key].as_str().unwrap().to_owned();
    let pair = |architecture| (text(architecture, "name"), text(architecture, "oldest"));
    architectures.map(pair).collect()
}
